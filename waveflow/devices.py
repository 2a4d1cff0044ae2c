"""Where to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def device_of(name: torch.device | str) -> torch.device:
    """The device of a name; `auto` is a GPU if there is one, else the CPU.

    Raises:
        ValueError: No device, or `meta`, where nothing can be computed.
        RuntimeError: PyTorch knows no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name is None or str(name).startswith("meta"):
        raise ValueError(f"device is {name!r}, expected one that computes: 'auto', 'cpu', 'cuda', 'cuda:1', ...")
    return torch.device(name)


@contextmanager
def plain_defaults() -> Iterator[None]:
    """New tensors on the CPU and in float32, whatever defaults PyTorch was given."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(default)
