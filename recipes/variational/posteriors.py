"""Flows for posteriors: cheap to draw from and to score what was drawn, of any length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from waveflow import bijections as b
from waveflow.bijections import Bijection, Inverse
from waveflow.nn.mlp import softplus_from_one

# All are mapped from noise to sample by their closed form: Inverse turns a flow whose forward is that.
FAMILIES: dict[str, Callable[[int, int, int], Bijection]] = {
    "planar": lambda n_features, length, context_channels: Inverse(
        b.Chain(b.Planar(n_features, context_channels) for _ in range(length))
    ),
    "radial": lambda n_features, length, context_channels: Inverse(
        b.Chain(b.Radial(n_features, context_channels) for _ in range(length))
    ),
    # Gates would narrow the base at every step, and never spread it over two modes.
    "iaf": lambda n_features, length, context_channels: b.IAF(
        n_features,
        length,
        context_channels=context_channels,
        n_channels=32,
        elementwise=b.AffineMap(max_log_s=3.0),
    ),
    "naf": lambda n_features, length, context_channels: Inverse(
        b.NAF(n_features, length, n_units=8, context_channels=context_channels, n_channels=32)
    ),
}


class AffineNormal(nn.Module):
    """A normal with a learned mean and scale for each number, as told by the context where there is one.

    Args:
        n_features: Numbers in a vector.
        context_channels: Numbers of the context's features, 0 for none.
    """

    def __init__(self, n_features: int, context_channels: int = 0) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(2 * n_features))
        self.told = nn.Linear(context_channels, 2 * n_features, bias=False) if context_channels else None

    def forward(self, context: Tensor | None = None) -> Distribution:
        parameters = self.free if self.told is None else self.free + self.told(context)
        mean, scale = parameters.chunk(2, dim=-1)
        return Independent(Normal(mean, softplus_from_one(scale)), 1)
