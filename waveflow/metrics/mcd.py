"""Mel-cepstral distortion, with dynamic time warping in numba."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

DECIBELS_PER_NEPER = 20 / math.log(10)


def mel_cepstrum(log_mel: Tensor, n_coefficients: int = 13) -> Tensor:
    """Cosine series of a log-mel spectrum along its bands, without the mean (the loudness).

        c_k = 2 / n_mels * sum_b log_mel_b * cos(pi * k * (b + 1/2) / n_mels),    k = 1 ... K

    With all `n_mels - 1` coefficients, `log_mel_b` less its mean is `sum_k c_k cos(...)`.

    Args:
        log_mel: Natural logarithm of mel magnitudes, shape `(..., n_mels, F)`.
        n_coefficients: K, 13 or 24 as a rule.

    Returns:
        Shape `(..., F, K)`.

    Raises:
        ValueError: K is not between 1 and `n_mels - 1`.
    """
    n_mels = log_mel.shape[-2]
    if not 1 <= n_coefficients < n_mels:
        raise ValueError(f"n_coefficients is {n_coefficients}, expected 1 to {n_mels - 1} for {n_mels} mel bands")
    k = torch.arange(1, n_coefficients + 1, dtype=log_mel.dtype, device=log_mel.device)
    b = torch.arange(n_mels, dtype=log_mel.dtype, device=log_mel.device)
    basis = 2 / n_mels * torch.cos(math.pi / n_mels * torch.outer(k, b + 0.5))
    return (basis @ log_mel).transpose(-1, -2)


def mel_cepstral_distortion(reference: Any, synthesis: Any, *, align: bool = True, radius: int | None = None) -> float:
    """Distance of two cepstra, the mean over (aligned) pairs of frames.

        10 / ln 10 * sqrt(2 * sum_k (c_k - c'_k)^2)    dB

    On `mel_cepstrum` that is the root mean square over bands of the difference of the two smoothed mel
    envelopes in dB, level excluded (Parseval). Cepstra of another kind (WORLD or SPTK envelopes, MFCCs with
    an orthonormal cosine transform) are on another scale, so compare figures of one definition only.
    Source: Kubichek, Mel-cepstral distance measure for objective speech quality assessment, 1993.

    Args:
        reference: Cepstra without c_0, shape `(F, K)`, an array or tensor.
        synthesis: Shape `(F', K)`; F' = F unless aligned.
        align: Pair the frames by dynamic time warping on the same distance; otherwise frame by frame.
        radius: As in `dtw_path`.

    Returns:
        Mean over pairs, dB.

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    x, y = _frames("reference", reference), _frames("synthesis", synthesis)
    if align:
        path = dtw_path(x, y, radius=radius)
        x, y = x[path[:, 0]], y[path[:, 1]]
    elif x.shape != y.shape:
        raise ValueError(f"reference has shape {x.shape} and synthesis {y.shape}; trim the longer one, or align")
    distance = np.sqrt(2 * np.square(x - y).sum(axis=1))
    return float(DECIBELS_PER_NEPER / 2 * distance.mean())


def dtw_path(reference: Any, synthesis: Any, *, radius: int | None = None) -> np.ndarray:
    """The monotone pairing of two sequences with the least sum of Euclidean distances.

        D(i, j) = |x_i - y_j| + min(D(i-1, j-1), D(i-1, j), D(i, j-1)),    from (0, 0) to (F-1, F'-1)

    Source: Sakoe and Chiba, Dynamic programming algorithm optimization for spoken word recognition, 1978.
    Time and memory are `F * F'`, or `F * (2 radius + 1)` (one byte each) with a radius.

    Args:
        reference: x, shape `(F, K)`, an array or tensor.
        synthesis: y, shape `(F', K)`.
        radius: Frames that a pair may lie off the straight line from corner to corner; None for any number.
            It is widened to `F' / F` where it would leave no path.

    Returns:
        Pairs `(i, j)`, int64, shape `(P, 2)`. Of equal sums the path keeps to the diagonal.

    Raises:
        ValueError: Shapes do not fit, or a value is not finite.
    """
    x, y = _frames("reference", reference), _frames("synthesis", synthesis)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"frames of {x.shape[1]} and {y.shape[1]} values cannot be aligned; give both the same K")
    if radius is not None and radius < 0:
        raise ValueError(f"radius is {radius}, expected a number of frames of at least 0, or None")
    widest = max(len(x), len(y))
    narrowest = -(-len(y) // len(x))
    return _compiled()(x, y, widest if radius is None else max(min(radius, widest), narrowest))


def _frames(name: str, values: Any) -> np.ndarray:
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected (F, K) with at least one frame")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite values, expected none; check the audio it comes from")
    return array


@functools.cache
def _compiled() -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    import numba

    return numba.njit(_align)


def _align(x: np.ndarray, y: np.ndarray, radius: int) -> np.ndarray:
    """Least-cost path, from two rows of costs and a move a pair: 1 diagonal, 2 next row, 3 next column."""
    n, m = len(x), len(y)
    moves = np.zeros((n, min(2 * radius + 1, m)), np.uint8)
    first = np.zeros(n, np.int64)
    above, row = np.full(m, np.inf), np.full(m, np.inf)
    above_first, above_end = 0, 0
    for i in range(n):
        centre = i * (m - 1) // max(n - 1, 1)
        start, end = max(0, centre - radius), min(m, centre + radius + 1)
        first[i] = start
        for j in range(start, end):
            best, move = np.inf, 0
            if above_first < j <= above_end:
                best, move = above[j - 1], 1
            if above_first <= j < above_end and above[j] < best:
                best, move = above[j], 2
            if j > start and row[j - 1] < best:
                best, move = row[j - 1], 3
            if i == 0 and j == 0:
                best = 0.0
            distance = 0.0
            for k in range(x.shape[1]):
                distance += (x[i, k] - y[j, k]) ** 2
            row[j] = best + np.sqrt(distance)
            moves[i, j - start] = move
        above, row = row, above
        above_first, above_end = start, end

    path = np.zeros((n + m - 1, 2), np.int64)
    i, j, length = n - 1, m - 1, 0
    while True:
        path[length, 0], path[length, 1] = i, j
        length += 1
        if i == 0 and j == 0:
            return path[:length][::-1].copy()
        move = moves[i, j - first[i]]
        if move != 3:
            i -= 1
        if move != 2:
            j -= 1
