"""Radial flows: the data is pushed away from a centre, or drawn towards it."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, full_precision, widened
from waveflow.bijections.checks import require_vectors
from waveflow.nn.context import Context
from waveflow.nn.mlp import ContextParameter, softplus_from_one
from waveflow.settings import require_counts

MARGIN = 1e-3
"""`1 + beta / alpha` is kept above this, so that the inverse is well conditioned."""


class Radial(Bijection):
    """Scale the distance to a centre, most near it and hardly far away.

        z = x + beta / (alpha + r) (x - c),    r = ||x - c||
        log_det = (D - 1) log(1 + beta / (alpha + r)) + log(1 + alpha beta / (alpha + r)^2)

    Invertible where `alpha > 0` and `beta > -alpha`, which is enforced by `alpha = softplus(.)` and
    `beta = alpha (softplus(.) - 1)`, up to a margin. The distance of z solves a quadratic equation, so that the
    inverse is a formula: `r = (q + sqrt(q^2 + 4 alpha r_z)) / 2`, `q = r_z - alpha - beta`.

    Source: Rezende and Mohamed (arXiv:1505.05770), section 4.1 and appendix A.2, where the map goes from noise to
    sample and `beta = softplus(.) - alpha`.

    Args:
        n_features: Numbers in a vector, D.
        context_channels: Numbers of the context's features, which then shift c, alpha and beta; 0 for none.
    """

    def __init__(self, n_features: int, context_channels: int = 0) -> None:
        super().__init__()
        require_counts(n_features=n_features)
        self.n_features = n_features
        start = torch.cat([torch.randn(n_features), torch.zeros(2)])
        self.parameter = ContextParameter(start, context_channels)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, D)` to `(B, D)`.

        Raises:
            ValueError: x is not of that shape.
        """
        require_vectors(x, self.n_features)
        with full_precision(x):
            centre, alpha, beta = self._constrained(x, context)
            r = (x - centre).norm(dim=1, keepdim=True)
            return x + beta / (alpha + r) * (x - centre), self._log_det(alpha, beta, r)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._solve(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        x, alpha, beta, r = self._solve(z, context)
        return x, -self._log_det(alpha, beta, r)

    def _solve(self, z: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        require_vectors(z, self.n_features)
        with full_precision(z):
            centre, alpha, beta = self._constrained(z, context)
            r_z = (z - centre).norm(dim=1, keepdim=True)
            q = r_z - alpha - beta
            root = torch.sqrt(q.square() + 4 * alpha * r_z)
            # Of the two forms of the root, the one that does not subtract nearly equal numbers.
            r = torch.where(q > 0, (q + root) / 2, 2 * alpha * r_z / (root - q.clamp_max(0)))
            return centre + (z - centre) / (1 + beta / (alpha + r)), alpha, beta, r

    def _constrained(self, x: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor]:
        centre, alpha, ratio = self.parameter(context).to(x.dtype).split([self.n_features, 1, 1], dim=1)
        alpha = softplus_from_one(alpha)
        return centre, alpha, alpha * (1 - MARGIN) * (softplus_from_one(ratio) - 1)

    def _log_det(self, alpha: Tensor, beta: Tensor, r: Tensor) -> Tensor:
        alpha, beta, r = widened(alpha), widened(beta), widened(r)
        across = torch.log1p(beta / (alpha + r))
        along = torch.log1p(alpha * beta / (alpha + r).square())
        return ((self.n_features - 1) * across + along)[:, 0]
