"""Sylvester flows: planar flows of higher rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, full_precision, widened
from waveflow.bijections.checks import require_vectors
from waveflow.bijections.solve import invert_monotone
from waveflow.nn.context import Context
from waveflow.nn.mlp import ContextParameter, softplus_from_one
from waveflow.settings import require_counts

MARGIN = 1e-3
"""The slope along each direction is kept above this, so that the inverse is well conditioned."""


class Sylvester(Bijection):
    """Push the data within a subspace of M directions, through M ridges that may see one another.

        z = x + Q R tanh(a),    a = S Q^T x + b,    log_det = sum_i log(1 + R_ii S_ii (1 - tanh^2(a_i)))

    Q has M orthonormal columns, a product of M Householder reflections; R and S are upper triangular. Invertible where
    `R_ii S_ii > -1`, which is enforced by `R_ii = (softplus(.) - 1) / max(S_ii, 1)` with `S_ii = softplus(.)`, up to a
    margin: a negative S_ii would only flip signs elsewhere.

    The inverse goes from the last direction to the first, each one an increasing equation for one number, solved to
    1e-10 of its size in float64 and 1e-5 in float32, with first and second derivatives.

    Source: Sylvester normalizing flows (arXiv:1803.05649). Its Householder variant has a square Q; here the first M
    columns are taken, for a bottleneck as in its orthogonal variant.

    Args:
        n_features: Numbers in a vector, D.
        rank: Directions M, at most D.
        context_channels: Numbers of the context's features, which then shift Q, R, S and b; 0 for none.

    Raises:
        ValueError: The rank is not between 1 and D.
    """

    def __init__(self, n_features: int, rank: int, context_channels: int = 0) -> None:
        super().__init__()
        require_counts(n_features=n_features, rank=rank)
        if rank > n_features:
            raise ValueError(f"rank is {rank}, it must be between 1 and n_features={n_features}")
        self.n_features, self.rank = n_features, rank
        self.sizes = [rank * n_features, rank * rank, rank * rank, rank]
        reflections = torch.randn(rank * n_features)
        s = (torch.randn(rank, rank) / math.sqrt(rank)).fill_diagonal_(0)
        start = torch.cat([reflections, torch.zeros(rank * rank), s.flatten(), torch.zeros(rank)])
        self.parameter = ContextParameter(start, context_channels)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, D)` to `(B, D)`.

        Raises:
            ValueError: x is not of that shape.
        """
        require_vectors(x, self.n_features)
        with full_precision(x):
            q, r, s, b = self._constrained(x, context)
            ridges = torch.tanh(matvec(s, matvec(q.mT, x)) + b)
            return x + matvec(q, matvec(r, ridges)), self._log_det(r, s, ridges)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._solve(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        x, r, s, ridges = self._solve(z, context)
        return x, -self._log_det(r, s, ridges)

    def _solve(self, z: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        require_vectors(z, self.n_features)
        with full_precision(z):
            q, r, s, b = self._constrained(z, context)
            targets = matvec(q.mT, z)
            # y = Q^T x solves  y + R tanh(S y + b) = Q^T z;  found: y_j and tanh(a_j) for all j > i, last
            # first.
            y, ridges = targets[:, :0], targets[:, :0]
            for i in reversed(range(self.rank)):
                offset = b[:, i] + (s[:, i, i + 1 :] * y).sum(1)
                target = targets[:, i] - (r[:, i, i + 1 :] * ridges).sum(1)
                found = self._solve_one(target, r[:, i, i], s[:, i, i], offset)
                y = torch.cat([found[:, None], y], dim=1)
                ridges = torch.cat([torch.tanh(s[:, i, i] * found + offset)[:, None], ridges], dim=1)
            return z - matvec(q, matvec(r, ridges)), r, s, ridges

    @staticmethod
    def _solve_one(target: Tensor, r: Tensor, s: Tensor, offset: Tensor) -> Tensor:
        def along(y: Tensor) -> tuple[Tensor, Tensor]:
            ridge = torch.tanh(s * y + offset)
            return y + r * ridge, 1 + r * s * (1 - ridge.square())

        return invert_monotone(along, target, target - r.abs(), target + r.abs())

    def _constrained(self, x: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        v, r, s, b = self.parameter(context).to(x.dtype).split(self.sizes, dim=1)
        r, s = r.unflatten(1, (self.rank, self.rank)), s.unflatten(1, (self.rank, self.rank))
        slope = softplus_from_one(s.diagonal(dim1=1, dim2=2))
        ratio = (1 - MARGIN) * (softplus_from_one(r.diagonal(dim1=1, dim2=2)) - 1)
        r = r.triu(1) + torch.diag_embed(ratio / slope.clamp_min(1))
        s = s.triu(1) + torch.diag_embed(slope)
        return householder(v.unflatten(1, (self.rank, self.n_features))), r, s, b

    @staticmethod
    def _log_det(r: Tensor, s: Tensor, ridges: Tensor) -> Tensor:
        product = widened(r.diagonal(dim1=1, dim2=2)) * widened(s.diagonal(dim1=1, dim2=2))
        return torch.log1p(product * (1 - widened(ridges).square())).sum(1)


def householder(vectors: Tensor) -> Tensor:
    """The first M columns of a product of M reflections `I - 2 v v^T / |v|^2`: `(B, M, D)` to `(B, D, M)`."""
    batch, rank, n_features = vectors.shape
    columns = torch.eye(n_features, rank, dtype=vectors.dtype, device=vectors.device).expand(batch, -1, -1)
    vectors = torch.nn.functional.normalize(vectors, dim=2)
    for v in vectors.unbind(1):
        columns = columns - 2 * v[:, :, None] * (v[:, None] @ columns)
    return columns


def matvec(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply each `(B, N)` by its own `(B, M, N)`, or by one for all, `(1, M, N)`."""
    return (matrix @ x[:, :, None])[:, :, 0]
