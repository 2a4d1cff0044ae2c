"""Coupling layers: half of the channels pass, and tell what happens to the other half."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, sum_log_det, zero_log_det
from waveflow.nn.context import Context
from waveflow.settings import require_positive


class Coupling(Bijection):
    """Change half of the channels by an elementwise map that the other half decides.

    The first half passes and the second changes; with `swap` it is the other way round.

    Args:
        conditioner: Called as `conditioner(x_a, context)`; its output is handed to the elementwise map.
        swap: Let the second half pass and change the first.
    """

    def __init__(self, conditioner: nn.Module, *, swap: bool = False) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.swap = swap

    def transform(self, x_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map `x_b` to latent; also the elementwise log-derivative, None where it is zero."""
        raise TypeError(f"{type(self).__name__} does not define transform")

    def invert(self, z_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor | None]:
        """Undo `transform`; also the elementwise log-derivative of the way back."""
        raise TypeError(f"{type(self).__name__} does not define invert")

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map data `(B, C, ...)` to latent of the same shape.

        Raises:
            ValueError: C is odd.
        """
        a, b = self.split(x)
        b, log_s = self.transform(b, self.conditioner(a, context))
        return self.merge(a, b), zero_log_det(x) if log_s is None else sum_log_det(log_s, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        a, b = self.split(z)
        return self.merge(a, self.invert(b, self.conditioner(a, context))[0])

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        a, b = self.split(z)
        b, log_s = self.invert(b, self.conditioner(a, context))
        return self.merge(a, b), zero_log_det(z) if log_s is None else sum_log_det(log_s, context)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The half of the channels that passes, and the half that changes.

        Raises:
            ValueError: Their number is odd.
        """
        if x.shape[1] % 2:
            raise ValueError(f"a coupling halves its channels, but the input has {x.shape[1]}; give it an even number")
        first, second = x.chunk(2, dim=1)
        return (second, first) if self.swap else (first, second)

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        """Undo `split`."""
        return torch.cat([b, a] if self.swap else [a, b], dim=1)


class AffineCoupling(Coupling):
    """Scale and shift half of the channels, as told by the other half.

        z_a = x_a,    z_b = exp(log_s) * x_b + t,    (t, log_s) = conditioner(x_a, context)

    Source: RealNVP (arXiv:1605.08803); channel order as NVIDIA's code of WaveGlow (arXiv:1811.00002).

    Args:
        conditioner: Gives t, then log_s, stacked as channels: as many channels out as the coupling has.
        max_log_s: Keep log_s within this bound by `max_log_s * tanh(raw / max_log_s)`; None leaves it free.
        swap: Let the second half pass and change the first.
    """

    def __init__(self, conditioner: nn.Module, *, max_log_s: float | None = None, swap: bool = False) -> None:
        super().__init__(conditioner, swap=swap)
        if max_log_s is not None:
            require_positive(max_log_s=max_log_s)
        self.max_log_s = max_log_s

    def transform(self, x_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        t, log_s = self._shift_and_scale(x_b, parameters)
        return torch.exp(log_s) * x_b + t, log_s

    def invert(self, z_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        t, log_s = self._shift_and_scale(z_b, parameters)
        return (z_b - t) * torch.exp(-log_s), -log_s

    def _shift_and_scale(self, like: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        # Autocast may hand over half precision; the affine map itself stays in the precision of the data.
        t, log_s = parameters.to(like.dtype).chunk(2, dim=1)
        if self.max_log_s is not None:
            log_s = self.max_log_s * torch.tanh(log_s / self.max_log_s)
        return t, log_s


class NormalizingCoupling(AffineCoupling):
    """Shift and scale half of the channels as if the conditioner told their mean and deviation.

        z_a = x_a,    z_b = exp(-log_s) * (x_b - t),    (t, log_s) = conditioner(x_a, context)

    Source: the coupling of FloWaveNet (arXiv:1811.02155). So it is an `AffineCoupling` the other way round.
    """

    def transform(self, x_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return super().invert(x_b, parameters)

    def invert(self, z_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return super().transform(z_b, parameters)


class AdditiveCoupling(Coupling):
    """Shift half of the channels, as told by the other half: `z_b = x_b + conditioner(x_a, context)`; log_det is 0.

    Source: NICE (arXiv:1410.8516).
    """

    def transform(self, x_b: Tensor, parameters: Tensor) -> tuple[Tensor, None]:
        return x_b + parameters.to(x_b.dtype), None

    def invert(self, z_b: Tensor, parameters: Tensor) -> tuple[Tensor, None]:
        return z_b - parameters.to(z_b.dtype), None
