"""Activation normalisation with data-dependent initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, sum_log_det
from waveflow.bijections.checks import require_channels
from waveflow.nn.context import Context, as_context
from waveflow.settings import require_counts


class ActNorm(Bijection):
    """Shift and scale each channel, `z = scale * (x + loc)`.

    The first batch seen in training mode sets `loc` and `scale` so that what comes out has mean 0 and variance 1 per
    channel: the latent of data, or, where a flow is trained through its inverse, the data of a latent. Latents that are
    drawn without gradients do not count. A channel that does not vary is shifted only, and a batch of one value a
    channel, or with values that are not finite, leaves all as it is. A scale may turn negative; its logarithm is taken
    of the absolute value. Of several processes each would take its own batch: have the module see one before
    `DistributedDataParallel` wraps it, which hands all of them the values of the first.

    Source: Glow (arXiv:1807.03039), section 3.1, which shifts after it scales; the order here is that of FloWaveNet's
    code.

    Args:
        n_channels: Channels of the data.
        correction: Taken off the number of values that the variance is divided by; 1 as FloWaveNet, else 0.
    """

    initialized: Tensor

    def __init__(self, n_channels: int, *, correction: int = 0) -> None:
        super().__init__()
        require_counts(n_channels=n_channels)
        require_counts(0, correction=correction)
        self.correction = correction
        self.loc = nn.Parameter(torch.zeros(n_channels))
        self.scale = nn.Parameter(torch.ones(n_channels))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to `(B, C, ...)`.

        Raises:
            ValueError: x has another number of channels.
        """
        require_channels(x, len(self.loc))
        if self.training and not self.initialized:
            self.initialize(x, context)
        return self._along(self.scale, x) * (x + self._along(self.loc, x)), self._log_det(x, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        require_channels(z, len(self.loc))
        if self.training and torch.is_grad_enabled() and not self.initialized:
            self.initialize(z, context, inverse=True)
        return z / self._along(self.scale, z) - self._along(self.loc, z)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z, context), -self._log_det(z, context)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | Context | None = None, *, inverse: bool = False) -> None:
        """Set `loc` and `scale` from the mean and standard deviation of each channel, padding left out.

        Args:
            x: Data `(B, C, ...)`, or latent of that shape.
            context: Its mask tells what is padding.
            inverse: x is a latent, and its data shall have mean 0 and variance 1.
        """
        mask = as_context(context).mask
        wide = torch.promote_types(x.dtype, torch.float32)
        flat = x.to(wide).transpose(0, 1).flatten(1)
        weight = torch.ones_like(flat[0]) if mask is None else mask.expand(-1, 1, *x.shape[2:]).flatten()
        n_values = weight.sum()
        if n_values <= max(1, self.correction):
            return
        mean = (flat * weight).sum(1) / n_values
        deviation = (((flat - mean[:, None]).square() * weight).sum(1) / (n_values - self.correction)).sqrt()
        if not (mean.isfinite().all() and deviation.isfinite().all()):
            return
        # What rounding alone makes of a constant is no variation.
        deviation = deviation.where(deviation > 8 * torch.finfo(wide).eps * mean.abs(), 1.0)
        self.scale.copy_(deviation if inverse else 1 / deviation)
        self.loc.copy_(mean / deviation if inverse else -mean)
        self.initialized.fill_(True)

    def _log_det(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        return sum_log_det(self._along(self.scale.abs().log(), x).expand_as(x), context)

    @staticmethod
    def _along(parameter: Tensor, x: Tensor) -> Tensor:
        return parameter.view(-1, *[1] * (x.dim() - 2))
