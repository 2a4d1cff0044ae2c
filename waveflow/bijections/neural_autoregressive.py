"""Neural autoregressive flows: each number passes a small monotone network, told the numbers before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.bijections.autoregressive import MAF
from waveflow.bijections.elementwise import Elementwise
from waveflow.bijections.solve import invert_monotone
from waveflow.nn.mlp import softplus_from_one
from waveflow.settings import require_counts, require_positive

SPREAD = 3.0
"""Fresh units sit between minus and plus this: all in one place, their gradients would keep them together."""


LEAST_SLOPE = 1e-9
"""Of a unit: one whose slope underflows to zero would leave the inverse without bounds."""


class SigmoidalMap(Elementwise):
    """A mixture of sigmoids, seen through a logit.

        z = logit(sum_j w_j sigmoid(c (a_j x + b_j))),    a_j > 0,  w_j > 0,  sum_j w_j = 1

    With enough units it comes as near as wanted to any increasing map. It has no closed inverse: each number is solved
    for, to 1e-10 of its size in float64 and 1e-5 in float32, between the least and the greatest `(z / c - b_j) / a_j`.

    Source: deep sigmoidal flow (arXiv:1804.00779), equation 8.

    Args:
        n_units: Sigmoids, K; the parameters are 3 K.
        steepness: c, of fresh units. Many units that are as wide as the data tell it apart slowly: where the data has
            several modes in a line, take c above 1.
    """

    spread: Tensor

    def __init__(self, n_units: int = 8, steepness: float = 1.0) -> None:
        super().__init__()
        require_counts(n_units=n_units)
        require_positive(steepness=steepness)
        self.n_units, self.n_parameters, self.steepness = n_units, 3 * n_units, steepness
        spread = torch.linspace(-SPREAD, SPREAD, n_units) if n_units > 1 else torch.zeros(1)
        self.register_buffer("spread", spread, persistent=False)

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(x, *self._units(parameters))

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        a, b, log_w = self._units(parameters)

        def mapped(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = self._evaluate(x, a, b, log_w)
            return value, log_slope.exp()

        alone = (z[..., None] - b) / a
        x = invert_monotone(mapped, z, alone.amin(-1), alone.amax(-1))
        return x, -self._evaluate(x, a, b, log_w)[1]

    def _units(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, w = parameters.chunk(3, dim=-1)
        a, b = softplus_from_one(a).clamp_min(LEAST_SLOPE), b + self.spread
        return self.steepness * a, self.steepness * b, w.log_softmax(-1)

    @staticmethod
    def _evaluate(x: Tensor, a: Tensor, b: Tensor, log_w: Tensor) -> tuple[Tensor, Tensor]:
        pre = a * x[..., None] + b
        # Both tails of the mixture in logarithms: the logit of a sum that rounds to 0 or 1 would be lost.
        log_s, log_not_s = F.logsigmoid(pre), F.logsigmoid(-pre)
        log_below, log_above = torch.logsumexp(log_w + log_s, -1), torch.logsumexp(log_w + log_not_s, -1)
        log_slope = torch.logsumexp(log_w + log_s + log_not_s + a.log(), -1)
        return log_below - log_above, log_slope - log_below - log_above


class NAF(MAF):
    """Autoregressions through mixtures of sigmoids; a universal approximator of densities.

    Source: NAF (arXiv:1804.00779), the deep sigmoidal flow. Other arguments as `MAF`.

    Args:
        n_units: Sigmoids of each map.
        steepness: Of fresh ones, see `SigmoidalMap`.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 3,
        *,
        n_units: int = 8,
        steepness: float = 1.0,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        random_orders: bool = False,
    ) -> None:
        super().__init__(
            n_features,
            n_flows,
            context_channels=context_channels,
            n_channels=n_channels,
            n_layers=n_layers,
            random_orders=random_orders,
            elementwise=SigmoidalMap(n_units, steepness),
        )
