"""Elementwise affine maps: learned, or told by the context alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, sum_log_det
from waveflow.nn.context import Context, as_context


class ConditionalScale(Bijection):
    """Scale each channel by a gain that the context alone decides, `z = exp(log_s) * x`, `log_s = conditioner(features)`.

    Args:
        conditioner: Maps the context's features to log_s of x's shape.
    """

    def __init__(self, conditioner: nn.Module) -> None:
        super().__init__()
        self.conditioner = conditioner

    def _log_s(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        return self.conditioner(as_context(context).features).to(x.dtype)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        log_s = self._log_s(x, context)
        return torch.exp(log_s) * x, sum_log_det(log_s, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return torch.exp(-self._log_s(z, context)) * z

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        log_s = self._log_s(z, context)
        return torch.exp(-log_s) * z, -sum_log_det(log_s, context)
