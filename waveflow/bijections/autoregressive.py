"""Autoregressive flows: each number is mapped as told by the numbers before it."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, Chain, sum_log_det
from waveflow.bijections.elementwise import AffineMap, Elementwise, GatedMap
from waveflow.bijections.inverse import Inverse
from waveflow.nn.context import Context
from waveflow.nn.made import MADE
from waveflow.settings import require_counts


class MaskedAutoregressive(Bijection):
    """Map each number by an elementwise map, told the numbers before it in the conditioner's order.

        z_i = map(x_i; parameters_i(x_j for all j before i, context)),    log_det = sum_i log map'(x_i)

    Forward is one pass. The inverse is exact but sequential: as many passes as there are numbers, in order.

    Source: autoregressive models as flows, as in MAF (arXiv:1705.07057).

    Args:
        conditioner: A `MADE`, or what behaves like one: maps `(B, D)` to `(B, D, P)`, and has the `order`.
        elementwise: The map of one number, with P parameters.
    """

    def __init__(self, conditioner: MADE, elementwise: Elementwise) -> None:
        super().__init__()
        self.conditioner, self.elementwise = conditioner, elementwise

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, D)` to `(B, D)`.

        Raises:
            ValueError: D is not what the conditioner was built for.
        """
        z, log_s = self.elementwise.transform(x, self.conditioner(x, context).to(x.dtype))
        return z, sum_log_det(log_s)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._invert(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self._invert(z, context)

    def _invert(self, z: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor]:
        x = log_s = torch.zeros_like(z)
        # Indices that stay tensors: neither a graph nor an accelerator has to stop for their values.
        for i in self.conditioner.order.split(1):
            parameters = self.conditioner(x, context).index_select(1, i).to(z.dtype)
            column, log_s_i = self.elementwise.invert(z.index_select(1, i), parameters)
            x, log_s = x.index_copy(1, i, column), log_s.index_copy(1, i, log_s_i)
        return x, sum_log_det(log_s)


class MAF(Chain):
    """Affine autoregressions, by turns from the first number to the last and back, or in random orders.

    Fast to score, sequential to sample.

    Source: MAF (arXiv:1705.07057), without batch normalisation between the autoregressions.

    Args:
        n_features: Numbers in a vector.
        n_flows: Autoregressions.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each MADE.
        n_layers: Its hidden layers.
        random_orders: Draw each order at random.
        elementwise: The map of one number; `AffineMap(max_log_s=5.0)` unless given: unbounded scales overflow far
            from the data, where a density should be small and not undefined.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 5,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        random_orders: bool = False,
        elementwise: Elementwise | None = None,
    ) -> None:
        require_counts(n_features=n_features, n_flows=n_flows)
        elementwise = AffineMap(max_log_s=5.0) if elementwise is None else elementwise
        super().__init__(
            MaskedAutoregressive(
                MADE(
                    n_features,
                    elementwise.n_parameters,
                    context_channels=context_channels,
                    n_channels=n_channels,
                    n_layers=n_layers,
                    order=order,
                ),
                elementwise,
            )
            for order in orders(n_features, n_flows, random_orders)
        )


class IAF(Inverse):
    """Autoregressions of the latent: fast to sample, sequential to score data it did not sample.

        x_i = map(z_i; parameters_i(z_j for all j before i, context))

    The paper's gates, `x_i = s_i z_i + (1 - s_i) m_i` with s below 1, are stable, and narrow the latent whatever they
    are told: a chain of them never spreads one normal over several modes. `AffineMap(max_log_s=3.0)`, the paper's
    equation 10 with bounded scales, can.

    Source: IAF (arXiv:1606.04934), equations 13 and 14. Other arguments as `MAF`.

    Args:
        elementwise: The map of one number; `GatedMap()` unless given.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 5,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        random_orders: bool = False,
        elementwise: Elementwise | None = None,
    ) -> None:
        super().__init__(
            MAF(
                n_features,
                n_flows,
                context_channels=context_channels,
                n_channels=n_channels,
                n_layers=n_layers,
                random_orders=random_orders,
                elementwise=GatedMap() if elementwise is None else elementwise,
            )
        )


def orders(n_features: int, n_flows: int, random: bool = False) -> list[Tensor]:
    """An order for each autoregression: forwards and backwards by turns, or random."""
    if random:
        return [torch.randperm(n_features) for _ in range(n_flows)]
    forwards = torch.arange(n_features)
    return [forwards.flip(0) if k % 2 else forwards for k in range(n_flows)]
