"""How much alike two signals are."""

from __future__ import annotations

import torch
from torch import Tensor

# Keeps equal signals finite, as JSON wants them.
_LEAST = 1e-30


def signal_to_error(found: Tensor, expected: Tensor, dim: int | None = None) -> Tensor:
    """The energy of a signal to that of what another misses it by, in decibels.

        10 log10(sum(expected^2) / sum((found - expected)^2))

    Args:
        found: Any shape, real.
        expected: Of the same shape.
        dim: Along which to sum; over everything unless given.

    Returns:
        float64, a scalar or of the shape without `dim`; NaN where `found` or `expected` is.
    """
    expected = expected.double()
    error = found.double() - expected
    signal, noise = (x.square().sum(dim) for x in (expected, error))
    return 10 * torch.log10(signal / noise.clamp_min(_LEAST))
