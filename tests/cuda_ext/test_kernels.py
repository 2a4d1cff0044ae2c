import ctypes

import pytest
import torch
from ops.layers import Layer
from ops.test_coupling_inverse import arguments as coupling_arguments
from ops.test_coupling_inverse import run as run_coupling
from ops.test_lapped_inverse import problem as lapped_problem

from waveflow.inference.noise import batch_normal, normal, philox
from waveflow.ops.lapped_inverse import lapped_inverse

# Of values near one: the last bit of what is stored.
BOUND = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

LAYERS = {
    "waveglow": {},
    "one-position": {"n_positions": 1, "n_frames": 37, "dilation": 4},
    "one-frame": {"n_frames": 1, "lengths": (4, 1)},
    "reach-beyond-all": {"n_frames": 3, "dilation": 16},
    "more-frames-than-a-block": {"n_positions": 2, "n_frames": 71, "dilation": 3},
    "five-taps": {"taps": 5, "dilation": 3},
    "width-no-power-of-two": {"n_channels": 48, "n_out": 20},
    "width-no-tile": {"n_channels": 24, "n_features": 7},
    "two-blocks": {"n_channels": 96, "n_positions": 1},
    "widest-block": {"n_channels": 128, "n_positions": 1, "n_frames": 35},
    "many-outputs": {"n_out": 150},
    "last": {"last": True},
    "adds-to-output": {"begins": False},
    "three-items": {"batch": 3, "lengths": (36, 1, 17)},
}


@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
@pytest.mark.parametrize("sizes", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_equals_its_truth(sizes, folded, host_kernels):
    layer = Layer(**sizes, folded=folded and sizes.get("begins", True), dtype=torch.float16)
    found, expected = layer.run("cuda"), layer.run("reference")
    for x, y in zip(found[layer.last :], expected[layer.last :]):
        torch.testing.assert_close(x, y, rtol=BOUND[torch.float16], atol=BOUND[torch.float16])
    assert found[0].isnan().all() == layer.last


@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
def test_bfloat16_rounds_as_pytorch_does(folded, host_kernels):
    layer = Layer(folded=folded, dtype=torch.bfloat16)
    for x, y in zip(layer.run("cuda"), layer.run("reference")):
        torch.testing.assert_close(x, y, rtol=BOUND[torch.bfloat16], atol=BOUND[torch.bfloat16])


@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 16, 32, 64, 128])
def test_every_dilation_of_waveglow(dilation, host_kernels):
    layer = Layer(n_positions=32, n_frames=9, n_channels=16, batch=1, dilation=dilation, dtype=torch.float16)
    for x, y in zip(layer.run("cuda"), layer.run("reference")):
        torch.testing.assert_close(x, y, rtol=BOUND[torch.float16], atol=BOUND[torch.float16])


COUPLINGS = {
    "waveglow": {},
    "waveglow-without-early": {"n_early": 0, "n": 8},
    "lapglow": {"n_positions": 1, "n_frames": 37, "n": 32, "n_early": 0, "n_hidden": 24, "max_log_s": 2.0},
    "more-outputs-than-a-block-stages": {"n": 40, "n_hidden": 120, "max_log_s": 2.0},
    "one-vector": {"batch": 3, "n_frames": 9, "n_positions": 1, "n": 2},
}


@pytest.mark.parametrize("case", COUPLINGS.values(), ids=COUPLINGS.keys())
def test_a_coupling_equals_its_truth(case, host_kernels):
    given = coupling_arguments(**case, dtype=torch.bfloat16)
    (latent, hidden), expected = run_coupling("cuda", "cpu", given), run_coupling("reference", "cpu", given)
    torch.testing.assert_close(latent, expected[0], rtol=1e-5, atol=1e-5)
    if hidden is not None:
        torch.testing.assert_close(hidden.float(), expected[1].float(), rtol=8e-3, atol=8e-3, equal_nan=True)
        assert hidden[..., -16:].isnan().all()


LAPPED = {
    "full-overlap": {"n_bands": 16},
    "short-overlap": {"n_bands": 24, "overlap": 16, "n_frames": 40},
    "no-overlap": {"n_bands": 8, "overlap": 0},
    "one-frame": {"n_bands": 16, "n_frames": 1},
    "two-frames": {"n_bands": 6, "n_frames": 2},
    "frames-of-three-blocks": {"n_bands": 16, "n_frames": 61},
}


@pytest.mark.parametrize("gain", [True, False])
@pytest.mark.parametrize("case", LAPPED.values(), ids=LAPPED.keys())
def test_a_lapped_inverse_equals_its_truth(case, gain, host_kernels):
    _, arguments = lapped_problem(**case, gain=gain)
    arguments[0][1, arguments[2][1] :] = float("nan")
    torch.testing.assert_close(lapped_inverse(*arguments, "cuda"), lapped_inverse(*arguments), rtol=1e-5, atol=1e-5)


def test_the_noise_s_integers_are_those_of_the_truth(host_kernels):
    words = (ctypes.c_uint32 * 4)()
    for seed in (0, 5, 2**32 + 1, 2**63 + 11, 2**64 - 1):
        for counter in (0, 1, 2**32 - 1, 2**32, 2**62 + 3):
            host_kernels.library()._functions.wf_words(ctypes.c_uint64(counter), ctypes.c_uint64(seed), words)
            assert [*words] == philox(torch.tensor([counter]), seed)[:, 0].tolist()


@pytest.mark.parametrize(("start", "n"), [(0, 1), (3, 2), (5, 1999), (2**35 + 3, 777), (8, 0)])
def test_the_noise_equals_its_truth(start, n, host_kernels):
    seeds = [5, 2**63 + 11]
    expected = torch.stack([normal(seed, start, n) for seed in seeds])
    torch.testing.assert_close(batch_normal(seeds, start, n, backend="cuda"), expected, rtol=1e-5, atol=2e-6)


def test_what_the_kernels_cannot_take_is_refused_by_name(host_kernels):
    with pytest.raises(ValueError, match=r"not torch.float32; choose one of these, or backend='triton'"):
        Layer().run("cuda")
    with pytest.raises(ValueError, match="n_channels is 12"):
        Layer(n_channels=12, dtype=torch.float16).run("cuda")


def test_a_library_of_other_sources_is_refused(host_kernels, monkeypatch):
    other = host_kernels._structure("Normal", "seeds* out*")
    monkeypatch.setitem(host_kernels.STRUCTURES, "normal", other)
    host_kernels.library.cache_clear()
    with pytest.raises(RuntimeError, match=r"takes 40 bytes for normal, this version gives 16; build it again"):
        host_kernels.library()
