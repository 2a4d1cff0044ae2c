"""Who computes the inverse: the choice among backends, announced and never silently another."""

from __future__ import annotations

import importlib.util
import logging

import torch
from torch import Tensor

from waveflow.decibels import signal_to_error
from waveflow.inference.deferred import Deferred, Inverse
from waveflow.inference.folding import foldable, require_foldable
from waveflow.inference.fuse import fuse
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, MelFlow
from waveflow.ops import recorded, unavailable
from waveflow.ops.processor import bfloat16_products

BACKENDS = ("auto", "reference", "compile", "triton", "cuda", "onednn")

# In decibels of signal to error, as `parity` has them: less is a wrong kernel, not rounding.
PARITY = {torch.float32: 60.0, torch.float16: 30.0, torch.bfloat16: 25.0}

# How much worse than its middle frame the whole may be. Now and then a trained inverse carries the rounding of a frame
# far, in any arithmetic; what is wrong in many frames is a fault.
OUTLIERS = 15.0

# What `auto` tries, in this order.
FASTEST = {"cuda": ("triton", "cuda"), "cpu": ("onednn",)}

_log = logging.getLogger("waveflow")


def inverse_by(model: MelFlow, backend: str, device: torch.device, dtype: torch.dtype) -> tuple[Inverse, str]:
    """Make the inverse of a model, latent and `MelContext` to audio, by a backend.

    Args:
        model: On `device`, float32; later changes of its weights do not reach the result.
        backend: One of `BACKENDS`. `auto` takes what is fastest on the device, once it has agreed with the reference
            there, on this very model, and says what it took. In float32 on a CPU it first takes the reference, and what
            is fastest once preparing it takes less time than it saves: a `Deferred` inverse.
        device: Where to run.
        dtype: Precision of the operands.

    Returns:
        The inverse, which takes and gives float32 (float64 if `dtype` is), and the name of the backend.

    Raises:
        ValueError: No backend is called so, or it knows no such model or precision.
        RuntimeError: The backend cannot run here; the message says why.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {BACKENDS}")
    if backend == "auto":
        if device.type == "cpu" and dtype == torch.float32 and foldable(model) and not _no_onednn(device, dtype):
            plain = _plain(model, dtype, compiled=False)
            deferred = Deferred(model, plain, lambda: _choose(model, device, dtype), torch.get_num_threads())
            return deferred, deferred.backend
        return _choose(model, device, dtype)
    if backend not in ("reference", "compile"):
        _require(model, backend, device, dtype)
        return _kernels(model, backend, device, dtype), backend
    return _plain(model, dtype, compiled=backend == "compile"), backend


def parity(inverse: Inverse, model: MelFlow, *, n_frames: int = 24) -> float:
    """Agreement of an inverse with its model's own, in decibels, on random noise and a random mel.

    That of the middle frame, or of the whole where it is worse than that by more than `OUTLIERS`.
    """
    generator = torch.Generator().manual_seed(0)
    config = model.mel_config
    latent = model.config.sigma * torch.randn(1, n_frames * config.hop_length, generator=generator)
    mel = 2 * torch.randn(1, config.n_mels, n_frames, generator=generator) - 5
    device = next(model.parameters()).device
    latent, context = latent.to(device), MelContext(mel.to(device))
    # Convolutions on a GPU round to 10 bits unless told otherwise, and would be no truth for float32.
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with torch.no_grad(), exact:
        found, expected = inverse(latent, context), model.inverse(latent, context)
    whole = signal_to_error(found, expected).item()
    frames = signal_to_error(found.view(n_frames, -1), expected.view(n_frames, -1), dim=1)
    return min(whole + OUTLIERS, frames.median().item())


def _choose(model: MelFlow, device: torch.device, dtype: torch.dtype) -> tuple[Inverse, str]:
    for backend in FASTEST.get(device.type, ()):
        try:
            _require(model, backend, device, dtype)
            _require_proof(backend, device, dtype)
        except (ValueError, RuntimeError) as reason:
            _log.info("backend %s passed over: %s", backend, reason)
            continue
        try:
            inverse = _kernels(model, backend, device, dtype)
            agreement = parity(inverse, model)
        except Exception as error:
            # Whatever a compiler or driver raises here, the reference still runs; but it is slow, and this no choice.
            _log.warning("backend %s failed and is passed over: %s: %s", backend, type(error).__name__, error)
            continue
        if agreement >= PARITY[dtype]:
            _log.info("backend: %s (%.0f dB from the reference on this device)", backend, agreement)
            return inverse, backend
        _log.warning("backend %s passed over: %.0f dB from the reference", backend, agreement)
    _log.info("backend: reference")
    return _plain(model, dtype, compiled=False), "reference"


def _require_proof(backend: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse CUDA kernels that were not tested on such a device: agreement on one short mel would not be enough."""
    if backend == "cuda" and unavailable(backend, device) is None:
        reason = recorded.unproved(torch.cuda.get_device_name(device), dtype)
        if reason:
            raise RuntimeError(reason)


def _require(model: MelFlow, backend: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse kernels that know no such model or precision (ValueError) or cannot run here (RuntimeError)."""
    if dtype not in PARITY:
        raise ValueError(f"backend {backend!r} has no kernels for {dtype}; take one of {[*PARITY]}")
    reason = _no_onednn(device, dtype) if backend == "onednn" else unavailable(backend, device)
    if reason:
        raise RuntimeError(f"backend {backend!r} was asked for, but {reason}")
    if backend == "cuda" and dtype == torch.float32:
        raise ValueError("backend 'cuda' has no kernels for torch.float32; take float16 or bfloat16, or 'triton'")
    require_foldable(model)


def _kernels(model: MelFlow, backend: str, device: torch.device, dtype: torch.dtype) -> Inverse:
    if backend == "onednn":
        return _on_cpu(model, dtype)
    return PlannedInverse(pack(model, dtype, device), backend)


def _on_cpu(model: MelFlow, dtype: torch.dtype) -> Inverse:
    """By products of our own, but for a matrix unit, which oneDNN knows how to drive."""
    from llvmlite import binding

    if dtype == torch.bfloat16 and binding.get_host_cpu_features().get("amx-bf16"):
        from waveflow.inference.cpu.inverse import CpuInverse

        return CpuInverse(model, dtype)
    from waveflow.inference.cpu.compiled import CompiledInverse

    return CompiledInverse(model, dtype)


def _no_onednn(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the CPU's inverse cannot run, with the remedy; None where it can."""
    if device.type != "cpu":
        return f"it runs on the CPU, and this is {device.type!r}"
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch was built without oneDNN"
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed, which compiles what stands between the matrix products; `pip install numba`"
    if dtype == torch.bfloat16 and not bfloat16_products():
        return "this processor multiplies no bfloat16 (AVX512-BF16 or AMX); take dtype=torch.float32"
    return None


def _plain(model: MelFlow, dtype: torch.dtype, *, compiled: bool) -> Inverse:
    fused = fuse(model).to(dtype)
    inverse = torch.compile(fused.inverse) if compiled else fused.inverse

    wide, hop_length = torch.promote_types(dtype, torch.float32), model.mel_config.hop_length
    # Padding in a batch costs a CPU what company saves it, and changes the order of sums.
    apart = next(model.parameters()).device.type == "cpu" and not compiled

    def run(latent: Tensor, context: MelContext) -> Tensor:
        if context.lengths is None or not apart:
            return inverse(latent.to(dtype), MelContext(context.mel.to(dtype), context.lengths)).to(wide)
        audio = torch.zeros_like(latent, dtype=wide)
        for b, n in enumerate(context.lengths.tolist()):
            if n:
                mel = context.mel[b : b + 1, :, : -(-n // hop_length)]
                audio[b, :n] = run(latent[b : b + 1, :n], MelContext(mel))[0]
        return audio

    return run
