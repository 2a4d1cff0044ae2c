"""Standard normal noise that is a function of seed and position alone."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.ops.dispatch import implementation


@torch.library.custom_op("waveflow::keyed_normal", mutates_args=())
def keyed_normal(seeds: Tensor, start: int, n: int, backend: str = "reference") -> Tensor:
    """Standard normal noise of samples `start` to `start + n - 1` of each utterance.

        words = Philox(key = seed, counter = i // 4),   u_j = ((words_j >> 9) + 1/2) / 2^23
        samples 4c, 4c + 1 = sqrt(-2 log u_0) (cos, sin)(2 pi u_1),   4c + 2, 4c + 3 from u_2, u_3

    Args:
        seeds: int64 `(B,)`, the bits of each utterance's 64-bit key.
        start: First sample, at least 0.
        n: Samples.
        backend: Whose kernel.

    Returns:
        float32 `(B, n)`.
    """
    return implementation("keyed_normal", backend)(seeds, start, n)


@keyed_normal.register_fake
def _(seeds: Tensor, start: int, n: int, backend: str = "reference") -> Tensor:
    return seeds.new_empty(seeds.shape[0], n, dtype=torch.float32)
