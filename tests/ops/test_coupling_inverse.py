import pytest
import torch

from waveflow.bijections import AffineCoupling
from waveflow.ops.coupling_inverse import coupling_inverse
from waveflow.ops.tuning import override

NAN = float("nan")


def arguments(batch=2, n_frames=11, n_positions=4, n=6, n_early=2, n_hidden=0, dtype=torch.float32, max_log_s=0.0):
    n_vectors, width = n_frames * n_positions, n + n_early
    # Slices of wider tensors: the latent of a model with early outputs has other strides than its shape.
    latent = torch.randn(batch, n_vectors, n + 5)[..., 2 : 2 + n]
    early = torch.randn(batch, n_vectors, n_early + 4)[..., 1 : 1 + n_early] if n_early else None
    return {
        "latent": latent,
        "parameters": torch.randn(batch, n_vectors, n),
        "early": early,
        "matrix": torch.randn(width + n_hidden, width) / width**0.5,
        "hidden_bias": torch.randn(n_hidden) if n_hidden else None,
        "lengths": torch.tensor([n_vectors, n_vectors - 7, 1][:batch], dtype=torch.int32),
        "latent_out": torch.full((batch, n_vectors, width), NAN),
        "hidden_out": torch.full((batch, n_frames, n_positions * n_hidden + 16), NAN, dtype=dtype)
        if n_hidden
        else None,
        "max_log_s": max_log_s,
    }


def run(backend, device, given):
    given = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in given.items()}
    results = given["latent_out"].clone(), None if given["hidden_out"] is None else given["hidden_out"].clone()
    coupling_inverse(**{**given, "latent_out": results[0], "hidden_out": results[1]}, backend=backend)
    return [None if x is None else x.cpu() for x in results]


CASES = {
    "waveglow": {},
    "waveglow-without-early": {"n_early": 0, "n": 8},
    "lapglow": {"n_positions": 1, "n_frames": 37, "n": 32, "n_early": 0, "n_hidden": 24, "max_log_s": 2.0},
    "half-precision-state": {"n": 8, "n_early": 0, "n_hidden": 16, "dtype": torch.float16, "max_log_s": 2.0},
    "one-vector": {"batch": 3, "n_frames": 9, "n_positions": 1, "n": 2},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_kernel_equals_its_truth(case, device):
    given = arguments(**case)
    with override(coupling_inverse={"BLOCK_L": 16, "BLOCK_N": 16, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2}):
        latent, hidden = run("triton", device, given)
    expected_latent, expected_hidden = run("reference", "cpu", given)
    torch.testing.assert_close(latent, expected_latent, rtol=1e-5, atol=1e-5)
    if hidden is not None:
        bound = 1e-5 if hidden.dtype == torch.float32 else 2e-3
        torch.testing.assert_close(hidden, expected_hidden, rtol=bound, atol=bound, equal_nan=True)
        assert hidden[..., -16:].isnan().all()
        assert not hidden[..., :-16].isnan().any()


@pytest.mark.parametrize("max_log_s", [0.0, 2.0])
def test_the_truth_is_the_coupling_s_inverse_then_the_matrix(max_log_s):
    given = arguments(n_early=0, max_log_s=max_log_s, batch=1)
    coupling = AffineCoupling(lambda x, context: given["parameters"].mT, max_log_s=max_log_s or None)
    expected = (given["matrix"] @ coupling.inverse(given["latent"].mT)).mT
    torch.testing.assert_close(run("reference", "cpu", given)[0], expected, rtol=1e-5, atol=1e-5)


def test_the_padding_is_zero_whatever_stood_there(device):
    given = arguments(n_hidden=8)
    given["latent"][1, -7:] = NAN
    given["parameters"][1, -7:] = float("inf")
    given["early"][1, -7:] = NAN
    for backend in ("reference", "triton"):
        latent, hidden = run(backend, device if backend == "triton" else "cpu", given)
        assert latent[1, -7:].abs().max() == 0
        assert hidden[..., : 4 * 8].reshape(2, 44, 8)[1, -7:].abs().max() == 0


def test_the_operation_is_well_formed():
    given = arguments(n_hidden=8, batch=1, n_frames=2)
    for name in ("latent_out", "hidden_out"):
        given[name] = torch.zeros_like(given[name])
    torch.library.opcheck(coupling_inverse, tuple(given.values()))
