"""What the conditioners' layers have in common."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from waveflow.nn.modules import bias_of
from waveflow.settings import require_counts

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d)


def zeroed(layer: Layer) -> Layer:
    """A layer with a bias, which gives zero until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(bias_of(layer))
    return layer


def require_odd(kernel_size: int) -> None:
    """Refuse a convolution that would see further on one side than on the other, or nothing.

    Raises:
        ValueError: It has an even number of taps, or none.
    """
    require_counts(kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}, it must be odd: both sides see the same length")
