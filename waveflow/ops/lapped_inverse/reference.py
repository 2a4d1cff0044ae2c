"""The inverse lapped transform in plain PyTorch: the truth for every backend."""

from __future__ import annotations

import torch
from torch import Tensor


def lapped_inverse(
    bands: Tensor, log_gain: Tensor | None, lengths: Tensor, dct: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """As `waveflow.ops.lapped_inverse.lapped_inverse`."""
    n_frames, half = bands.shape[1], len(cos)
    exists = torch.arange(n_frames, device=bands.device) < lengths[:, None]
    bands = bands if log_gain is None else bands * torch.exp(-log_gain)
    frames = torch.where(exists[..., None], bands, 0) @ dct
    if half and n_frames > 1:
        meets = exists[:, 1:, None]
        left = frames[:, :-1].flip(2)[..., :half]
        right = frames[:, 1:, :half]
        left, right = (
            torch.where(meets, cos * left + sin * right, left),
            torch.where(meets, cos * right - sin * left, right),
        )
        frames[:, 1:, :half] = right
        frames[:, :-1, frames.shape[2] - half :] = left.flip(2)
    return frames.flatten(1)
