"""Noise keyed by position: sample `i` of seed `s` is one number, whatever the chunking, batch, backend or device."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence
from typing import SupportsIndex, cast

import numpy as np
import torch
from torch import Tensor

from waveflow.losses import dequantize
from waveflow.ops.dispatch import implementation
from waveflow.ops.keyed_normal import keyed_normal
from waveflow.ops.keyed_normal.reference import box_muller, normal, philox

__all__ = ["batch_normal", "dequantized", "normal", "philox", "seed_of", "seeds_of"]


def seed_of(seed: SupportsIndex) -> int:
    """A seed as Python's integer, whatever kind of whole number it is.

    Raises:
        ValueError: It is no whole number, or not in 0 .. 2**64 - 1.
    """
    try:
        whole = operator.index(seed)
    except TypeError as error:
        raise ValueError(f"seed is {seed!r}, expected a whole number, 0 to 2**64 - 1") from error
    if not 0 <= whole < 2**64:
        raise ValueError(f"seed is {whole}, expected 0 to 2**64 - 1")
    return whole


def seeds_of(seed: SupportsIndex | Sequence[SupportsIndex] | None, batch: int) -> list[int]:
    """One seed for each item: the given one for all, one each, or fresh ones.

    Raises:
        ValueError: A sequence of another length than the batch, or a seed that `seed_of` refuses.
    """
    if seed is None:
        return [secrets.randbits(63) for _ in range(batch)]
    # Arrays and tensors without dimensions are numbers.
    if not (isinstance(seed, Sequence) or bool(getattr(seed, "ndim", 0))):
        return [seed_of(seed)] * batch
    seeds = cast("Sequence[SupportsIndex]", seed)
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds were given for a batch of {batch}; give one each, or a single number")
    return [seed_of(s) for s in seeds]


def batch_normal(
    seeds: Sequence[int],
    start: int,
    n: int,
    *,
    device: torch.device | str = "cpu",
    backend: str = "reference",
) -> Tensor:
    """`normal` for each of several utterances, `(B, n)`, by a backend of `waveflow.ops` or by `onednn`, bit for bit the
    reference.

    Raises:
        ValueError: A seed is no whole number in 0 .. 2**64 - 1.
    """
    seeds = [seed_of(seed) for seed in seeds]
    if backend == "onednn":
        drawn = {seed: _normal_on_cpu(seed, start, n) for seed in dict.fromkeys(seeds)}
        return torch.stack([drawn[seed] for seed in seeds])
    # PyTorch has no unsigned arithmetic: the key's bits travel as a signed number.
    keys = torch.tensor([seed - 2**64 if seed >= 2**63 else seed for seed in seeds], device=device)
    if torch.compiler.is_compiling():
        return keyed_normal(keys, start, n, backend)
    # The first call of an operation of PyTorch's imports its compiler, for more than a second.
    return implementation("keyed_normal", backend)(keys, start, n)


def dequantized(audio: Tensor) -> Tensor:
    """Audio `(B, T)` with uniform noise of one 16-bit step, keyed by position and so the same at every call."""
    keyed = batch_normal([0], 0, audio.shape[1], device=audio.device)
    # The normal distribution function turns keyed normal noise into uniform noise.
    return dequantize(audio, torch.special.ndtr(keyed))


def _normal_on_cpu(seed: int, start: int, n: int) -> Tensor:
    from waveflow.inference.cpu.kernels import philox

    first, last = start // 4, -(-(start + n) // 4)
    words = torch.empty(4, last - first, dtype=torch.int64)
    philox(np.uint64(first), np.uint64(seed), words.numpy())
    return box_muller(words).T.reshape(-1)[start - 4 * first :][:n]
