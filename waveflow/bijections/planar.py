"""Planar flows: the data is pushed along one direction, by how far it lies along another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, full_precision, widened
from waveflow.bijections.checks import require_vectors
from waveflow.bijections.solve import invert_monotone
from waveflow.nn.context import Context
from waveflow.nn.mlp import ContextParameter, softplus_above_one
from waveflow.settings import require_counts

MARGIN = 1e-3
"""The slope along w is kept above this, so that the inverse is well conditioned."""


class Planar(Bijection):
    """Push the data along u by a ridge function of its place along w.

        z = x + u tanh(w . x + b),    log_det = log(1 + w . u (1 - tanh^2(w . x + b)))

    Invertible where `w . u > -1`, which is enforced by moving u along w: `w . u = softplus(f + log(e - 1)) - 1`, up to
    a margin, where f is the product of w with the free vector that is learned.

    The inverse solves the increasing equation `w . z = a + w . u tanh(a + b)` for the number `a = w . x`, to 1e-10 of
    its size in float64 and 1e-5 in float32, with first and second derivatives; `x = z - u tanh(a + b)`.

    Source: Rezende and Mohamed (arXiv:1505.05770), section 4.1 and appendix A.1, where the map goes from noise to
    sample and `w . u = softplus(f) - 1`.

    Args:
        n_features: Numbers in a vector, D.
        context_channels: Numbers of the context's features, which then shift w, u and b; 0 for none.
    """

    def __init__(self, n_features: int, context_channels: int = 0) -> None:
        super().__init__()
        require_counts(n_features=n_features)
        self.n_features = n_features
        w = torch.randn(n_features) / math.sqrt(n_features)
        start = torch.cat([w, torch.zeros(n_features + 1)])
        self.parameter = ContextParameter(start, context_channels)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, D)` to `(B, D)`.

        Raises:
            ValueError: x is not of that shape.
        """
        require_vectors(x, self.n_features)
        with full_precision(x):
            w, u, b, wu = self._constrained(x, context)
            ridge = torch.tanh((w * x).sum(1, keepdim=True) + b)
            return x + u * ridge, self._log_det(wu, ridge)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._solve(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        x, wu, ridge = self._solve(z, context)
        return x, -self._log_det(wu, ridge)

    def _solve(self, z: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor]:
        require_vectors(z, self.n_features)
        with full_precision(z):
            w, u, b, wu = self._constrained(z, context)
            target = (w * z).sum(1, keepdim=True)

            def along(a: Tensor) -> tuple[Tensor, Tensor]:
                ridge = torch.tanh(a + b)
                return a + wu * ridge, 1 + wu * (1 - ridge.square())

            a = invert_monotone(along, target, target - wu.abs(), target + wu.abs())
            ridge = torch.tanh(a + b)
            return z - u * ridge, wu, ridge

    def _constrained(self, x: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        w, u, b = self.parameter(context).to(x.dtype).split([self.n_features, self.n_features, 1], dim=1)
        free = (w * u).sum(1, keepdim=True)
        wu = (1 - MARGIN) * softplus_above_one(free)
        square = w.square().sum(1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
        return w, u + (wu - free) * w / square, b, wu

    @staticmethod
    def _log_det(wu: Tensor, ridge: Tensor) -> Tensor:
        return torch.log1p(widened(wu) * (1 - widened(ridge).square()))[:, 0]
