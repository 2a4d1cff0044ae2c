"""Figures of many clips as one: mean and 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean of one figure over clips, with the 95 % interval of that mean.

    Attributes:
        mean: NaN where no clip has the figure.
        low: Lower end of the interval, NaN for fewer than two clips.
        high: Upper end.
        n: Clips that have the figure.
    """

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(values: Sequence[float], *, n_resamples: int = 10_000, seed: int = 0) -> Summary:
    """Mean, and the 2.5th and 97.5th percentile of what resamples with replacement say of it.

        m + (m* - m) sqrt(n / chi^2_{n-1}),    m* the mean of a resample

    The root is Student's: without it, percentiles of m* cover the true mean of 3 normal figures 3 times in 4 instead of
    19 in 20, of 10 figures 9 times in 10. NaNs, clips without the figure, are left out and not counted.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; on the narrowness, Hesterberg,
    What teachers should know about the bootstrap, 2015 (arXiv:1411.5279).
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if len(array) < 2:
        return Summary(float(array.mean()) if len(array) else np.nan, np.nan, np.nan, len(array))
    rng = np.random.default_rng(seed)
    mean = array.mean()
    means = np.empty(n_resamples)
    block = max(1, 1_000_000 // len(array))
    for start in range(0, n_resamples, block):
        count = min(block, n_resamples - start)
        means[start : start + count] = rng.choice(array, (count, len(array))).mean(axis=1)
    widening = np.sqrt(len(array) / rng.chisquare(len(array) - 1, n_resamples))
    low, high = np.quantile(mean + (means - mean) * widening, [0.025, 0.975])
    return Summary(float(mean), float(low), float(high), len(array))


def summarize(clips: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """`bootstrap_mean` of every figure that occurs in the clips, in order of first occurrence."""
    names = dict.fromkeys(name for clip in clips for name in clip)
    return {name: bootstrap_mean([clip.get(name, np.nan) for clip in clips]) for name in names}
