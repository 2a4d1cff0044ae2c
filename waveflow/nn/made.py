"""The masked network whose outputs for one number depend on the numbers before it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import zeroed
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are fixed at zero: `y = (mask * W) x + b`.

    Args:
        mask: `(out, in)`, true where a weight may be.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.mask * self.weight, self.bias)


class MADE(nn.Module):
    """Parameters for each number of a vector, told the numbers before it in some order, and the context.

        parameters_i = network_i(x_j for all j before i in order, context)

    Each hidden unit has a degree k and sees the first k numbers of the order; it reaches units of no smaller degree,
    and the outputs for numbers with at least k before them. One pass gives the parameters of all.

    Source: MADE (arXiv:1502.03509), with degrees taken in turn where the paper draws them.

    Args:
        n_features: Numbers in the vector, D.
        n_parameters: Outputs for each of them, P.
        context_channels: Numbers of the context's features, 0 for none; every unit sees them.
        n_channels: Width of the hidden layers, at least D.
        n_layers: How many there are.
        order: The indices of the numbers from first to last; as they come unless given.
        activation: The nonlinearity, as a module class.
        n_inputs: Inputs that make one number: K where it is a symbol, as a one-hot vector of K.

    Raises:
        ValueError: `order` is no permutation, or there are fewer hidden units than degrees.
    """

    order: Tensor

    def __init__(
        self,
        n_features: int,
        n_parameters: int,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        order: Sequence[int] | Tensor | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        n_inputs: int = 1,
    ) -> None:
        super().__init__()
        require_counts(n_features=n_features, n_parameters=n_parameters, n_channels=n_channels, n_layers=n_layers)
        require_counts(n_inputs=n_inputs)
        require_counts(0, context_channels=context_channels)
        # A copy: several networks may be given one tensor, and each loads its own state.
        order = torch.arange(n_features) if order is None else torch.as_tensor(order).clone()
        if not torch.equal(order.sort().values, torch.arange(n_features)):
            raise ValueError(f"order is {order.tolist()}, expected a permutation of 0 to {n_features - 1}")
        # Degree 0 sees the context alone: of no use where there is none, unless nothing else is left.
        lowest = 0 if context_channels or n_features == 1 else 1
        if n_channels < n_features - lowest:
            raise ValueError(
                f"n_channels={n_channels} hidden units cannot tell {n_features} numbers apart; "
                f"take at least {n_features - lowest}"
            )
        self.n_features, self.n_parameters, self.n_inputs = n_features, n_parameters, n_inputs
        self.context_channels = context_channels
        self.register_buffer("order", order)

        degree = lowest + torch.arange(n_channels) % (n_features - lowest)
        rank = order.argsort()
        before = rank.repeat_interleave(n_inputs)[None] < degree[:, None]
        seen = torch.cat([before, torch.ones(n_channels, context_channels) > 0], dim=1)
        masks = [seen, *(degree[:, None] >= degree[None] for _ in range(n_layers - 1))]
        masks.append((rank[:, None] >= degree[None]).repeat_interleave(n_parameters, dim=0))
        self.layers = ModuleListOf(MaskedLinear(mask) for mask in masks)
        zeroed(self.layers[-1])
        self.activation = activation()

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, D * n_inputs)`, told features `(B, context_channels)`, to `(B, D, P)`.

        Raises:
            ValueError: D is not what it was built for, or it was built for context and none is given.
        """
        if x.dim() != 2 or x.shape[1] != self.n_features * self.n_inputs:
            raise ValueError(
                f"data has shape {tuple(x.shape)}, expected vectors (B, {self.n_features * self.n_inputs}); "
                "flatten each item, or build the network for its size"
            )
        if self.context_channels:
            x = torch.cat([x, required(as_context(context).features, self.context_channels).to(x.dtype)], dim=1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x).unflatten(1, (self.n_features, self.n_parameters))
