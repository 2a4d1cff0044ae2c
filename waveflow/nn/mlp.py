"""Fully connected conditioners for vectors, and parameters that the context may shift."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import zeroed
from waveflow.settings import require_counts


class MLP(nn.Module):
    """Layers that each see the whole vector, and the context in the first.

        h_1 = f(W_0 x + V context),   h_{i+1} = f(W_i h_i),   y = W_n h_n

    The last layer starts at zero, so that a fresh coupling is the identity.

    Args:
        in_channels: Numbers in.
        out_channels: Numbers out.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of the hidden layers.
        n_layers: How many there are.
        activation: The nonlinearity f, as a module class.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels, n_layers=n_layers)
        require_counts(0, context_channels=context_channels)
        self.start = nn.Linear(in_channels, n_channels)
        self.context = nn.Linear(context_channels, n_channels, bias=False) if context_channels else None
        self.hidden = nn.ModuleList(nn.Linear(n_channels, n_channels) for _ in range(n_layers - 1))
        self.end = zeroed(nn.Linear(n_channels, out_channels))
        self.activation = activation()

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels)`, told features `(B, context_channels)`, to `(B, out_channels)`.

        Raises:
            ValueError: It was built for context and none is given.
        """
        h = self.start(x)
        if self.context is not None:
            h = h + self.context(required(as_context(context).features, self.context.in_features))
        for layer in self.hidden:
            h = layer(self.activation(h))
        return self.end(self.activation(h))


class TimedMLP(MLP):
    """An MLP that is also told a time, as the velocity of a continuous flow: called as `(t, x, context)`."""

    def __init__(self, in_channels: int, out_channels: int, **config: Any) -> None:
        require_counts(in_channels=in_channels)
        super().__init__(in_channels + 1, out_channels, **config)

    def forward(  # type: ignore[override]
        self, t: Tensor, x: Tensor, context: Tensor | Context | None = None
    ) -> Tensor:
        """Map a time, a scalar, and `(B, in_channels)` to `(B, out_channels)`."""
        return super().forward(torch.cat([x, t.to(x.dtype).expand(len(x), 1)], dim=1), context)


class ContextParameter(nn.Module):
    """A learned tensor, to which the context may add: `value + MLP(features)`.

    The context adds nothing at first.

    Args:
        value: Where the tensor starts.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of the one hidden layer between the features and what they add.
    """

    def __init__(self, value: Tensor, context_channels: int = 0, n_channels: int = 64) -> None:
        super().__init__()
        require_counts(0, context_channels=context_channels)
        self.value = nn.Parameter(value)
        self.told = (
            MLP(context_channels, value.numel(), n_channels=n_channels, n_layers=1) if context_channels else None
        )

    def forward(self, context: Tensor | Context | None = None) -> Tensor:
        """The tensor for each item, `(B, *value.shape)`; without context one for all, `(1, *value.shape)`."""
        if self.told is None:
            return self.value[None]
        features = required(as_context(context).features, self.told.start.in_features)
        return self.value + self.told(features).view(-1, *self.value.shape)


SHIFT = math.log(math.e - 1)


def softplus_from_one(raw: Tensor) -> Tensor:
    """A positive number that is 1 where `raw` is 0: `log(1 + exp(raw + log(e - 1)))`."""
    return nn.functional.softplus(raw + SHIFT)


def softplus_above_one(raw: Tensor) -> Tensor:
    """`softplus_from_one(raw) - 1`, as a fraction of itself exact also near 0, where the difference would cancel."""
    near = torch.log1p((1 - 1 / math.e) * torch.expm1(raw.clamp(-1, 1)))
    return torch.where(raw.abs() < 1, near, softplus_from_one(raw) - 1)
