"""Short convolutions with fewer multiplications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial


class ToomCook(NamedTuple):
    """A way to compute `y_i = sum_j g_j x_{i + j}` by `n_outputs + n_taps - 1` products.

        y = outputs ((taps g) * (inputs x))

    Attributes:
        outputs: `(n_outputs, n_products)`.
        taps: `(n_products, n_taps)`.
        inputs: `(n_products, n_products)`.
    """

    outputs: np.ndarray
    taps: np.ndarray
    inputs: np.ndarray


def toom_cook(n_outputs: int, n_taps: int, points: Sequence[float]) -> ToomCook:
    """The algorithm that evaluates both polynomials at the given points and at infinity.

    Source: Toom (1963) and Cook (1966); transposed as in Winograd, Arithmetic Complexity of Computations (1980).

    Args:
        n_outputs: Outputs at a time.
        n_taps: Taps of the filter.
        points: `n_outputs + n_taps - 2` different numbers.

    Raises:
        ValueError: Another number of points.
    """
    n = n_outputs + n_taps - 1
    if len(set(points)) != n - 1 or len(points) != n - 1:
        raise ValueError(f"points={tuple(points)}: {n_outputs} outputs of {n_taps} taps need {n - 1} different ones")
    outputs, taps, inputs = np.zeros((n_outputs, n)), np.zeros((n, n_taps)), np.zeros((n, n))
    for k, point in enumerate(points):
        others = [p for p in points if p != point]
        outputs[:, k] = point ** np.arange(n_outputs)
        taps[k] = point ** np.arange(n_taps) / np.prod([point - p for p in others])
        inputs[k, : n - 1] = polynomial.polyfromroots(others) if others else 1
    outputs[-1, -1] = taps[-1, -1] = 1
    inputs[-1] = polynomial.polyfromroots(points)
    return ToomCook(outputs, taps, inputs)
