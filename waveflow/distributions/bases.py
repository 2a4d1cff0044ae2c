"""Simple densities that a bijection bends."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, OneHotCategorical

from waveflow.nn.context import Context
from waveflow.settings import is_count, require_counts


class StandardNormal(nn.Module):
    """The standard normal over items of a given shape, on the module's device and in its precision.

    Called with the context, which it does not heed, it gives the distribution.

    Raises:
        ValueError: The shape is not of whole numbers.
    """

    loc: Tensor

    def __init__(self, *event_shape: int) -> None:
        super().__init__()
        if not all(map(is_count, event_shape)):
            raise ValueError(f"event_shape is {event_shape}, expected numbers one by one: StandardNormal(2, 3)")
        self.register_buffer("loc", torch.zeros(event_shape), persistent=False)

    def forward(self, context: Tensor | Context | None = None) -> Distribution:
        normal = Normal(self.loc, torch.ones_like(self.loc), validate_args=False)
        return Independent(normal, self.loc.dim(), validate_args=False)


class IndependentSymbols(nn.Module):
    """Learned probabilities of symbols that do not depend on one another, as one-hot vectors `(B, D, K)`.

    The base of discrete flows: its log-density is linear in the symbols, so that gradients reach the flow.
    """

    def __init__(self, n_features: int, n_symbols: int) -> None:
        super().__init__()
        require_counts(n_features=n_features, n_symbols=n_symbols)
        self.logits = nn.Parameter(torch.zeros(n_features, n_symbols))

    def forward(self, context: Tensor | Context | None = None) -> Distribution:
        return Independent(_Symbols(logits=self.logits, validate_args=False), 1)


class _Symbols(OneHotCategorical):
    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.logits).sum(-1)
