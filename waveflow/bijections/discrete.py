"""Discrete flows: symbols are rotated through their alphabet."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, zero_log_det
from waveflow.nn.context import Context
from waveflow.nn.made import MADE
from waveflow.settings import require_positive


class DiscreteAutoregressive(Bijection):
    """Add to each symbol, modulo the alphabet's size K, a shift told by the symbols before it.

        z_i = (x_i + m_i) mod K,    m_i = argmax of the logits told x_j for all j before i;    log_det = 0

    Symbols are one-hot vectors, so that the sum is a circular convolution, and gradients pass: forward the shift is
    exactly one-hot, backward it is the softmax of its logits (straight-through). They are biased, as the paper's are.

    Source: discrete flows (arXiv:1905.10347), the autoregressive kind, shifts only.

    Args:
        conditioner: A `MADE` with K parameters for each of the D symbols, and `n_inputs=K`.
        temperature: Of the softmax in the backward pass.
    """

    def __init__(self, conditioner: MADE, temperature: float = 0.1) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        self.conditioner, self.temperature = conditioner, temperature

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map one-hot symbols `(B, D, K)`, floating point, to the same.

        Raises:
            ValueError: x is not of that shape.
        """
        self._check(x)
        return circular_sum(x, self._shifts(x, context)), zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        self._check(z)
        x = torch.zeros_like(z)
        for i in self.conditioner.order.split(1):
            shift = self._shifts(x, context).index_select(1, i)
            x = x.index_copy(1, i, circular_sum(z.index_select(1, i), shift.flip(-1).roll(1, -1)))
        return x

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z, context), zero_log_det(z)

    def _shifts(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        logits = self.conditioner(x.flatten(1), context).to(x.dtype)
        soft = (logits / self.temperature).softmax(-1)
        hard = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(x.dtype)
        # Zero in value, so that the symbol stays exactly one-hot.
        return hard + (soft - soft.detach())

    def _check(self, x: Tensor) -> None:
        n_features, n_symbols = self.conditioner.n_features, self.conditioner.n_parameters
        if x.dim() != 3 or x.shape[1:] != (n_features, n_symbols):
            raise ValueError(
                f"data has shape {tuple(x.shape)}, expected one-hot symbols (B, {n_features}, {n_symbols}); "
                f"make them with torch.nn.functional.one_hot(symbols, {n_symbols}).float()"
            )


def circular_sum(x: Tensor, y: Tensor) -> Tensor:
    """The one-hot vector of the sum, modulo K, of two numbers given as one-hot vectors `(..., K)`."""
    n = x.shape[-1]
    index = (torch.arange(n, device=x.device)[:, None] - torch.arange(n, device=x.device)) % n
    return (y[..., index] @ x[..., None])[..., 0]
