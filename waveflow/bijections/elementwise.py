"""Monotone maps of one number: what couplings and autoregressions apply, told by a conditioner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.settings import require_positive


class Elementwise(nn.Module):
    """A monotone map of each number by itself.

    Attributes:
        n_parameters: How many parameters one number takes, P. With all of them 0 the map is the identity, or near it.
    """

    n_parameters: int

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map numbers of any shape, told parameters `(*x.shape, P)`; also the log-derivative of each."""
        raise TypeError(f"{type(self).__name__} does not define transform")

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `transform`; also the log-derivative of the way back."""
        raise TypeError(f"{type(self).__name__} does not define invert")


class ShiftMap(Elementwise):
    """`z = x + t`."""

    n_parameters = 1

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters[..., 0], torch.zeros_like(x)

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return z - parameters[..., 0], torch.zeros_like(z)


class AffineMap(Elementwise):
    """`z = exp(log_s) x + t`, parameters t and log_s.

    Args:
        max_log_s: Keep log_s within this bound by `max_log_s * tanh(raw / max_log_s)`; None leaves it free.
    """

    n_parameters = 2

    def __init__(self, max_log_s: float | None = None) -> None:
        super().__init__()
        if max_log_s is not None:
            require_positive(max_log_s=max_log_s)
        self.max_log_s = max_log_s

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        t, log_s = self._shift_and_scale(parameters)
        return torch.exp(log_s) * x + t, log_s

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        t, log_s = self._shift_and_scale(parameters)
        return (z - t) * torch.exp(-log_s), -log_s

    def _shift_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        t, log_s = parameters.unbind(-1)
        if self.max_log_s is not None:
            log_s = self.max_log_s * torch.tanh(log_s / self.max_log_s)
        return t, log_s


class GatedMap(Elementwise):
    """Blend the number with another by a gate, `z = s x + (1 - s) m`, parameters m and raw.

    The gate is `s = 0.01 + 0.99 sigmoid(raw + bias)`: above a hundredth, so that the inverse cannot overflow.

    Source: IAF (arXiv:1606.04934), equations 13 and 14.

    Args:
        bias: Opens the gate of a fresh map, which then changes little.
    """

    n_parameters = 2

    def __init__(self, bias: float = 2.0) -> None:
        super().__init__()
        self.bias = bias

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        m, gate = self._mean_and_gate(parameters)
        return gate * x + (1 - gate) * m, gate.log()

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        m, gate = self._mean_and_gate(parameters)
        return (z - (1 - gate) * m) / gate, -gate.log()

    def _mean_and_gate(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        m, raw = parameters.unbind(-1)
        return m, 0.01 + 0.99 * torch.sigmoid(raw + self.bias)


def per_number(parameters: Tensor, n_parameters: int) -> Tensor:
    """Channels stacked parameter by parameter, `(B, P * C, ...)`, as P for each number: `(B, C, ..., P)`."""
    return parameters.unflatten(1, (n_parameters, -1)).movedim(1, -1)
