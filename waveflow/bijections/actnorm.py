"""Activation normalisation with data-dependent initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, sum_log_det
from waveflow.nn.context import Context, as_context


class ActNorm(Bijection):
    """Shift and scale each channel, `z = scale * (x + loc)`.

    The first batch seen in training mode sets `loc` and `scale` so that its latent has mean 0 and variance 1 per
    channel. A scale may turn negative; its logarithm is taken of the absolute value.

    Source: Glow (arXiv:1807.03039), section 3.1.

    Args:
        n_channels: Channels of the data.
        correction: Taken off the number of values that the variance is divided by; 1 as FloWaveNet, else 0.
    """

    def __init__(self, n_channels: int, *, correction: int = 0) -> None:
        super().__init__()
        self.correction = correction
        self.loc = nn.Parameter(torch.zeros(n_channels))
        self.scale = nn.Parameter(torch.ones(n_channels))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to `(B, C, ...)`."""
        if self.training and not self.initialized:
            self.initialize(x, context)
        return self._along(self.scale, x) * (x + self._along(self.loc, x)), self._log_det(x, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return z / self._along(self.scale, z) - self._along(self.loc, z)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z), -self._log_det(z, context)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | Context | None = None) -> None:
        """Set `loc` and `scale` from the mean and standard deviation of each channel of `x`, padding left out."""
        mask = as_context(context).mask
        flat = x.float().transpose(0, 1).flatten(1)
        weight = torch.ones_like(flat[0]) if mask is None else mask.expand(-1, 1, *x.shape[2:]).flatten()
        mean = (flat * weight).sum(1) / weight.sum()
        variance = ((flat - mean[:, None]).square() * weight).sum(1) / (weight.sum() - self.correction)
        self.loc.copy_(-mean)
        self.scale.copy_(1 / (variance.sqrt() + 1e-6))
        self.initialized.fill_(True)

    def _log_det(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        return sum_log_det(self._along(self.scale.abs().log(), x).expand_as(x), context)

    @staticmethod
    def _along(parameter: Tensor, x: Tensor) -> Tensor:
        return parameter.view(-1, *[1] * (x.dim() - 2))
