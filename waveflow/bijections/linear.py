"""Invertible linear maps of the channels, the same at every position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, count_positions, full_precision, widened
from waveflow.nn.context import Context
from waveflow.settings import require_counts


class InvertibleConv1x1(Bijection):
    """Mix the channels by a dense square matrix, `z = W x`, `log_det = L log |det W|`.

    The determinant is taken by `slogdet`, so that a matrix whose determinant turns negative in training stays sound.
    Starts as a random rotation, with log_det 0, unless told otherwise.

    Source: Glow (arXiv:1807.03039), section 3.2.

    Args:
        n_channels: C.
        weight: W at first, `(C, C)`.

    Raises:
        ValueError: The weight is of another shape, or C is no whole number of at least 1.
    """

    def __init__(self, n_channels: int, weight: Tensor | None = None) -> None:
        super().__init__()
        require_counts(n_channels=n_channels)
        if weight is not None and weight.shape != (n_channels, n_channels):
            raise ValueError(f"weight has shape {tuple(weight.shape)}, expected {(n_channels, n_channels)}")
        self.weight = nn.Parameter(random_rotation(n_channels) if weight is None else weight.clone())

    def matrix(self) -> Tensor:
        """W, shape `(C, C)`."""
        return self.weight

    def log_abs_det(self) -> Tensor:
        """log |det W|, a scalar, nats, in float32 or better."""
        return torch.linalg.slogdet(widened(self.matrix())).logabsdet

    def inverse_matrix(self) -> Tensor:
        """The inverse of W, computed in float64, in W's dtype."""
        weight = self.matrix()
        return torch.linalg.inv(weight.double()).to(weight.dtype)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to `(B, C, ...)`."""
        with full_precision(x):
            return mix(self.matrix(), x), (self.log_abs_det() * count_positions(x, context)).expand(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        with full_precision(z):
            return mix(self.inverse_matrix(), z)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        with full_precision(z):
            log_det = -self.log_abs_det() * count_positions(z, context)
        return self.inverse(z), log_det.expand(z.shape[0])


class InvertibleConv1x1LU(InvertibleConv1x1):
    """The same map, parametrised as `W = P L (U + diag(s))`, so that the determinant is a product.

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular; the signs of s are fixed and
    `log |s|` is learned.

    Source: Glow (arXiv:1807.03039), the LU decomposition of section 3.2, where s itself is learned.
    """

    permutation: Tensor
    sign_s: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        permutation, lower, upper = torch.linalg.lu(self.weight.detach())
        del self.weight
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign_s", diagonal.sign())
        self.log_abs_s = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def matrix(self) -> Tensor:
        eye = torch.eye(len(self.log_abs_s), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.sign_s * self.log_abs_s.exp())
        return self.permutation @ (self.lower.tril(-1) + eye) @ upper

    def log_abs_det(self) -> Tensor:
        return widened(self.log_abs_s).sum()


class FixedLinear(Bijection):
    """A channel map whose matrix, inverse and determinant were computed once, for inference.

    Args:
        weight: W, `(C, C)`.
        inverse_weight: Its inverse.
        log_abs_det: log |det W|, nats.
    """

    weight: Tensor
    inverse_weight: Tensor
    log_abs_det: Tensor

    def __init__(self, weight: Tensor, inverse_weight: Tensor, log_abs_det: float | Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("inverse_weight", inverse_weight)
        self.register_buffer("log_abs_det", torch.as_tensor(log_abs_det, dtype=weight.dtype))

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return mix(self.weight, x), self._log_det(x, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return mix(self.inverse_weight, z)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z), -self._log_det(z, context)

    def _log_det(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        log_abs_det = self.log_abs_det.to(torch.promote_types(x.dtype, torch.float32))
        return (log_abs_det * count_positions(x, context)).expand(x.shape[0])


def mix(weight: Tensor, x: Tensor) -> Tensor:
    """Multiply the channels of `(B, C, ...)` by `(C, C)`."""
    return (weight @ x.flatten(2)).view_as(x) if x.dim() > 2 else x @ weight.T


def random_rotation(n: int) -> Tensor:
    """A random orthogonal matrix of determinant +1."""
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    q = q * r.diagonal().sign()
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q.to(torch.get_default_dtype())
