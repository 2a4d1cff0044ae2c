"""Which implementation of an operation runs."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

BACKENDS = ("reference", "triton", "cuda")
_MODULES = {
    "reference": "waveflow.ops.{op}.reference",
    "triton": "waveflow.ops.{op}.triton",
    "cuda": "waveflow_cuda.{op}",
}


def unavailable(backend: str, device: torch.device | str) -> str | None:
    """Why a backend cannot run on a device, with the remedy; None where it can.

    Raises:
        ValueError: No backend is called so.
    """
    if backend not in BACKENDS:
        raise ValueError(f"no backend is called {backend!r}; the operations have {BACKENDS}")
    device = torch.device(device)
    if backend == "triton":
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed; it comes with PyTorch's CUDA builds for Linux"
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"Triton kernels need a CUDA device, and this is {device.type!r}"
    if backend == "cuda":
        if importlib.util.find_spec("waveflow_cuda") is None:
            return "the CUDA extension is not built; build it with `pip install --no-build-isolation ./cuda_ext`"
        if device.type != "cuda":
            return f"CUDA kernels need a CUDA device, and this is {device.type!r}"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if device.type == "cuda" and backend != "reference" and torch.cuda.get_device_capability(device) < (8, 0):
        return f"the kernels need compute capability 8.0, and {torch.cuda.get_device_name(device)} has less"
    return None


@functools.cache
def implementation(op: str, backend: str, variant: str | None = None) -> Callable[..., Any]:
    """The function with which one backend computes one operation, or a variant that stands beside it.

    Raises:
        ValueError: No backend is called so.
        RuntimeError: The backend is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"no backend is called {backend!r}; the operations have {BACKENDS}")
    try:
        module = importlib.import_module(_MODULES[backend].format(op=op))
    except ModuleNotFoundError as error:
        reason = unavailable(backend, "cuda") or str(error)
        raise RuntimeError(f"backend {backend!r} was asked for, but {reason}") from error
    return getattr(module, variant or op)
