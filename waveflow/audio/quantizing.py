"""Audio as whole numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def quantize(audio: Tensor | np.ndarray, bits: int = 16) -> Tensor:
    """Audio, full scale ±1, as integers: `round(2 ** (bits - 1) * audio)`, limited to their range.

    Full scale and beyond clip, and a file that was read comes back bit for bit. Int16, or int32 for more than 16 bits.
    """
    full = 1 << (bits - 1)
    values = (torch.as_tensor(audio).double() * full).round().clamp(-full, full - 1)
    return values.to(torch.int16 if bits <= 16 else torch.int32)


def pcm(audio: Tensor) -> bytes:
    """Audio, full scale ±1, as little-endian 16-bit samples."""
    return quantize(audio).cpu().numpy().astype("<i2").tobytes()
