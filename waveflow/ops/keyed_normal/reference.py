"""Keyed noise in plain PyTorch: the truth for every backend."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def philox(counter: Tensor, seed: int | Tensor) -> Tensor:
    """Philox4x32-10: four 32-bit words for each counter.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).

    Args:
        counter: Non-negative int64 `(N,)`, any device.
        seed: The key, 0 to 2**64 - 1; or the bits of several, int64, of a shape that fits `counter`.

    Returns:
        int64 `(4, N)`, each value in 0 .. 2**32 - 1.
    """
    c0, c1 = counter & _WORD, counter >> 32
    c2, c3 = torch.zeros_like(c0), torch.zeros_like(c0)
    k0, k1 = seed & _WORD, seed >> 32 & _WORD
    for _ in range(10):
        # The product of two 32-bit words wraps in int64, but its bits are those of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32 & _WORD) ^ c1 ^ k0, p1 & _WORD, (p0 >> 32 & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = k0 + _WEYL[0] & _WORD, k1 + _WEYL[1] & _WORD
    return torch.stack([c0, c1, c2, c3])


def normal(seed: int, start: int, n: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise of samples `start` to `start + n - 1` of the utterance `seed`, float32 `(n,)`.

    Each counter gives four samples by two Box-Muller transforms.

    Raises:
        ValueError: The seed is not in 0 .. 2**64 - 1, or start is negative.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}, expected 0 to 2**64 - 1")
    if start < 0 or n < 0:
        raise ValueError(f"start={start} and n={n} must not be negative")
    first, last = start // 4, -(-(start + n) // 4)
    words = philox(torch.arange(first, last, dtype=torch.int64, device=device), seed)
    return box_muller(words).transpose(0, 1).reshape(-1)[start - 4 * first :][:n]


def box_muller(words: Tensor) -> Tensor:
    """The four samples of each counter's words, by two Box-Muller transforms: int64 `(4, ...)` to float32."""
    # 23 bits and a half are exact in float32, so no uniform is 0 or 1.
    uniform = ((words >> 9).float() + 0.5) * 2**-23
    radius = torch.sqrt(-2 * torch.log(uniform[0::2]))
    angle = 2 * math.pi * uniform[1::2]
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1).flatten(0, 1)


def keyed_normal(seeds: Tensor, start: int, n: int) -> Tensor:
    """As `waveflow.ops.keyed_normal.keyed_normal`; equal seeds are computed once."""
    keys = [seed % 2**64 for seed in seeds.tolist()]
    drawn = {key: normal(key, start, n, device=seeds.device) for key in dict.fromkeys(keys)}
    return torch.stack([drawn[key] for key in keys])
