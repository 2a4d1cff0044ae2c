"""Elementwise affine maps: learned, or told by the context alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, sum_log_det
from waveflow.bijections.checks import require_channels
from waveflow.nn.context import Context, as_context
from waveflow.nn.mlp import ContextParameter
from waveflow.settings import require_counts


class Affine(Bijection):
    """Scale and shift each channel, `z = exp(log_s) * x + t`, by learned numbers that the context may shift.

    Args:
        n_channels: C.
        context_channels: Numbers of the context's features `(B, context_channels)`, 0 for none.
    """

    def __init__(self, n_channels: int, context_channels: int = 0) -> None:
        super().__init__()
        require_counts(n_channels=n_channels)
        self.parameter = ContextParameter(torch.zeros(2, n_channels), context_channels)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to the same shape.

        Raises:
            ValueError: x has another number of channels.
        """
        t, log_s = self._shift_and_scale(x, context)
        return torch.exp(log_s) * x + t, sum_log_det(log_s, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        t, log_s = self._shift_and_scale(z, context)
        return (z - t) * torch.exp(-log_s)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        t, log_s = self._shift_and_scale(z, context)
        return (z - t) * torch.exp(-log_s), -sum_log_det(log_s, context)

    def _shift_and_scale(self, x: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor]:
        require_channels(x, self.parameter.value.shape[1])
        parameters = self.parameter(context).to(x.dtype)
        t, log_s = parameters.view(*parameters.shape, *[1] * (x.dim() - 2)).unbind(1)
        return t, log_s.expand_as(x)


class ConditionalScale(Bijection):
    """Scale each channel by a gain that the context alone decides.

        z = exp(log_s) * x,    log_s = conditioner(features)

    Args:
        conditioner: Maps the context's features to log_s of x's shape.
    """

    def __init__(self, conditioner: nn.Module) -> None:
        super().__init__()
        self.conditioner = conditioner

    def log_scale(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        """log_s of x's shape.

        Raises:
            ValueError: The conditioner gives another shape.
        """
        log_s = self.conditioner(as_context(context).features).to(x.dtype)
        if log_s.shape != x.shape:
            raise ValueError(
                f"data has shape {tuple(x.shape)}, but the conditioner's gains have {tuple(log_s.shape)}; "
                "give features as long as the data, and a conditioner for its channels"
            )
        return log_s

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        log_s = self.log_scale(x, context)
        return torch.exp(log_s) * x, sum_log_det(log_s, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return torch.exp(-self.log_scale(z, context)) * z

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        log_s = self.log_scale(z, context)
        return torch.exp(-log_s) * z, -sum_log_det(log_s, context)
