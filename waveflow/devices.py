"""Where to compute."""

from __future__ import annotations

import torch


def device_of(name: torch.device | str) -> torch.device:
    """The device of a name; `auto` is a GPU if there is one, else the CPU.

    Raises:
        RuntimeError: PyTorch knows no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
