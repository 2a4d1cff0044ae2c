import logging
import threading

import pytest
import torch
from small_models import SMALL, small

import waveflow.inference.backends as backends
from waveflow.inference import Vocoder, fuse, load
from waveflow.inference.cpu.compiled import CompiledInverse
from waveflow.inference.cpu.inverse import CpuInverse
from waveflow.inference.deferred import Deferred
from waveflow.models import MelContext, build

CPU = torch.device("cpu")


def test_an_explicit_backend_that_cannot_run_is_an_error_not_a_fallback(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match=r"'triton' was asked for, but .*CUDA device"):
        Vocoder(small("lapglow"), backend="triton")
    with pytest.raises(RuntimeError, match="'cuda' was asked for, but"):
        Vocoder(small("lapglow"), backend="cuda")
    with pytest.raises(RuntimeError, match=r"'onednn' was asked for, but it runs on the CPU"):
        backends.inverse_by(small("lapglow"), "onednn", torch.device("meta"), torch.float32)
    with pytest.raises(ValueError, match=r"SqueezeWave cannot be folded"):
        Vocoder(build("squeezewave", n_flows=2, n_channels=8, n_layers=2), backend="onednn")


def test_bfloat16_without_its_instructions_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(backends, "bfloat16_products", lambda: False)
    with pytest.raises(RuntimeError, match=r"AVX512-BF16 or AMX.*take dtype=torch.float32"):
        Vocoder(small("lapglow"), backend="onednn", dtype=torch.bfloat16)
    assert Vocoder(small("lapglow"), backend="onednn").backend == "onednn"


def test_bfloat16_is_left_to_onednn_where_there_is_a_matrix_unit(monkeypatch):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"amx-bf16": True})
    for dtype, kind in ((torch.bfloat16, CpuInverse), (torch.float32, CompiledInverse)):
        inverse, name = backends.inverse_by(small("lapglow"), "onednn", CPU, dtype)
        assert (type(inverse), name) == (kind, "onednn")


def test_a_missing_numba_is_named(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="Numba is not installed"):
        Vocoder(small("lapglow"), backend="onednn")
    assert Vocoder(small("lapglow")).backend == "reference"


def test_on_a_cpu_auto_takes_the_fast_inverse_of_models_that_have_one(caplog):
    with caplog.at_level(logging.INFO, logger="waveflow"):
        assert Vocoder(build("squeezewave", n_flows=2, n_channels=8, n_layers=2)).backend == "reference"
        if backends.bfloat16_products():
            assert Vocoder(small("waveglow"), dtype=torch.bfloat16).backend == "onednn"
            assert "backend: onednn (" in caplog.text
    assert "onednn passed over: SqueezeWave cannot be folded" in caplog.text


def test_in_float32_it_does_so_once_that_pays_and_gives_the_same_audio(caplog, fast_pays_after):
    model, mel = small("waveglow"), torch.full((80, 30), -5.0)
    fast_pays_after(3.5 * 256 * 30, model)
    vocoder = Vocoder(model)
    first = vocoder(mel, seed=1)
    assert vocoder.backend == "reference"
    with caplog.at_level(logging.INFO, logger="waveflow"):
        heard = []
        for _ in range(4):
            again = vocoder(mel, seed=1)
            heard.append(vocoder.backend)
            assert (again - first).abs().max() < 1e-4 * first.abs().max()
    assert heard == ["reference", "reference", "onednn", "onednn"]
    assert caplog.text.count("backend: onednn (") == 1


def test_a_long_utterance_does_not_wait_for_it(fast_pays_after):
    model = small("waveglow")
    fast_pays_after(255 * 30, model)
    vocoder = Vocoder(model)
    vocoder(torch.full((80, 30), -5.0), seed=1)
    assert vocoder.backend == "onednn"


def test_once_settled_it_does_not_change_any_more():
    vocoder, mel = Vocoder(small("waveglow")), torch.full((80, 30), -5.0)
    vocoder.settle()
    assert vocoder.backend == "onednn"
    assert torch.equal(vocoder(mel, seed=1), Vocoder(small("waveglow"), backend="onednn")(mel, seed=1))
    plain = Vocoder(small("waveglow"), backend="reference")
    plain.settle()
    assert plain.backend == "reference"


def test_to_settle_waits_for_another_thread_that_prepares_and_synthesis_does_not(fast_pays_after):
    begun, may_end = threading.Event(), threading.Event()

    def prepare():
        begun.set()
        assert may_end.wait(10)
        return lambda latent, context: latent + 2, "fast"

    model = small("waveglow")
    fast_pays_after(0, model)
    deferred = Deferred(model, lambda latent, context: latent + 1, prepare, 1)
    first, second = (threading.Thread(target=deferred.settle) for _ in range(2))
    first.start()
    assert begun.wait(10)
    second.start()
    assert (deferred(torch.zeros(1), None).item(), deferred.backend) == (1, "reference")
    second.join(0.1)
    assert second.is_alive()
    may_end.set()
    first.join()
    second.join()
    assert (deferred(torch.zeros(1), None).item(), deferred.backend) == (2, "fast")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_plain_inverse_gives_each_item_of_a_batch_bit_for_bit_what_it_is_alone(model, dtype):
    inverse, _ = backends.inverse_by(model, "reference", CPU, dtype)
    latent, mel, frames = torch.randn(3, 256 * 90), 2 * torch.randn(3, 80, 90) - 5, [90, 0, 31]
    with torch.no_grad():
        found = inverse(latent, MelContext(mel, 256 * torch.tensor(frames)))
        assert found.dtype == dtype
        for row, z, m, n in zip(found, latent, mel, frames):
            assert row[256 * n :].abs().sum() == 0
            if n:
                assert torch.equal(row[: 256 * n], inverse(z[None, : 256 * n], MelContext(m[None, :, :n]))[0])


@pytest.mark.parametrize("name", SMALL)
def test_the_inverse_is_one_graph_to_the_compiler(name):
    model = small(name)
    inverse = fuse(model).inverse
    z, mel = torch.randn(1, 5 * model.mel_config.hop_length), torch.randn(1, 80, 5) - 4
    torch._dynamo.reset()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(inverse, backend="eager", fullgraph=True)(z, mel), inverse(z, mel))


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match="backend is 'tpu', expected one of"):
        Vocoder(small("lapglow"), backend="tpu")


def test_a_precision_without_kernels_is_refused():
    with pytest.raises(ValueError, match=r"no kernels for torch.float64"):
        backends.inverse_by(small("lapglow"), "triton", CPU, torch.float64)


def test_auto_says_what_it_took(caplog):
    with caplog.at_level(logging.INFO, logger="waveflow"):
        vocoder = Vocoder(small("lapglow"))
    assert f"backend: {vocoder.backend}" in caplog.text


class Gpu:
    """Stands for a CUDA device in the choice."""

    type = "cuda"


@pytest.fixture
def kernels(monkeypatch):
    """Kernels of Triton's that are there without a GPU; what makes them can be replaced."""
    monkeypatch.setattr(backends, "FASTEST", {"cuda": ("triton",)})
    monkeypatch.setattr(backends, "unavailable", lambda backend, device: None)
    monkeypatch.setattr(backends, "pack", lambda model, dtype, device: None)
    return lambda make: monkeypatch.setattr(backends, "PlannedInverse", make)


@pytest.mark.parametrize(
    ("agreement", "taken"), [(90.0, "triton"), (12.0, "reference"), (float("nan"), "reference")], ids=str
)
def test_auto_takes_kernels_only_where_they_agree_with_the_reference(kernels, monkeypatch, caplog, agreement, taken):
    kernels(lambda flow, backend: backend)
    monkeypatch.setattr(backends, "parity", lambda inverse, model: agreement if inverse == "triton" else 0.0)
    with caplog.at_level(logging.INFO, logger="waveflow"):
        assert backends.inverse_by(small("lapglow"), "auto", Gpu(), torch.float16)[1] == taken
    assert f"backend: {taken}" in caplog.text
    if taken == "reference":
        assert "triton passed over" in caplog.text


def test_auto_survives_a_kernel_that_does_not_compile(kernels, caplog):
    def broken(flow, backend):
        raise TypeError("no such instruction")

    kernels(broken)
    with caplog.at_level(logging.WARNING, logger="waveflow"):
        assert backends.inverse_by(small("lapglow"), "auto", Gpu(), torch.float16)[1] == "reference"
    assert "backend triton failed and is passed over: TypeError: no such instruction" in caplog.text


def test_parity_is_high_for_the_model_itself_and_low_for_another():
    model, other = small("waveglow"), small("waveglow")
    for parameter in other.parameters():
        parameter.data.mul_(1.3)
    inverse, _ = backends.inverse_by(model, "reference", CPU, torch.float32)
    assert backends.parity(inverse, model) > 90
    wrong, _ = backends.inverse_by(other, "reference", CPU, torch.float32)
    assert backends.parity(wrong, model) < 40


def test_a_frame_that_carries_its_rounding_far_is_no_fault_and_frames_that_are_wrong_are():
    model = small("lapglow")
    hop = model.mel_config.hop_length

    def off_in(frames, size):
        def inverse(latent, context):
            audio = model.inverse(latent, context)
            audio[:, : frames * hop] *= 1 + size
            return audio * (1 + 1e-3)

        return inverse

    assert backends.parity(off_in(0, 0.0), model) == pytest.approx(60, abs=0.1)
    assert backends.parity(off_in(1, 0.2), model) > 40
    assert backends.parity(off_in(6, 1.0), model) < 25
    assert backends.parity(off_in(13, 0.2), model) < 25


@pytest.mark.parametrize("name", ["lapglow", "lapglow-tiny"])
def test_bundled_models_in_bfloat16_are_computed_by_the_fast_inverse(name):
    if not backends.bfloat16_products():
        pytest.skip("needs a processor that multiplies bfloat16")
    assert load(name, device="cpu", dtype=torch.bfloat16).backend == "onednn"
