"""Residual flows: identity plus a contraction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from waveflow.bijections.actnorm import ActNorm
from waveflow.bijections.base import Bijection, Chain, full_precision, widened, zero_log_det
from waveflow.bijections.derivatives import jacobian, pull_back, random_signs, settle, tracked
from waveflow.bijections.solve import invert_contraction
from waveflow.nn.context import Context
from waveflow.nn.lipschitz import Circle, LipschitzMLP, LipSwish
from waveflow.settings import require_counts, require_positive

EXACT_UP_TO = 16
"""Numbers per item up to which the full Jacobian is cheaper than a good estimate."""


class Residual(Bijection):
    """Add to the data what a contracting network makes of it: `z = x + g(x)`, invertible as `Lip(g) < 1`.

    The log-determinant is exact for small data, from the full Jacobian J of g. For large data it is an unbiased
    estimate, with random signs v and a random number n of terms beyond the first `n_terms`:

        log det(I + J) = E [ sum_{k=1}^{n_terms + n} (-1)^(k+1) / k  v^T J^k v / P(reaching term k) ]

    so that `log_det` then differs from call to call. The inverse iterates `x <- z - g(x)` to 1e-10 of its norm in
    float64 and 1e-5 in float32, or to `5e-7 L / (1 - L)` where the bound L makes that more, and differentiates by the
    implicit function theorem.

    Source: i-ResNet (arXiv:1811.00995); residual flows (arXiv:1906.02735), theorem 1, where v is normal.

    Args:
        network: Called as `network(x, context)`; has the attribute `lipschitz`, a bound below 1.
        exact: Whether log_det is exact; where None, for items of up to 16 numbers.
        n_terms: Terms of the series that an estimate always has.
        p: Chance that an estimate stops after any further term.

    Raises:
        ValueError: The network's bound is not below 1, there is no first term, or p is no chance between 0 and 1.
    """

    def __init__(self, network: LipschitzMLP, *, exact: bool | None = None, n_terms: int = 4, p: float = 0.5) -> None:
        super().__init__()
        if not 0 < network.lipschitz < 1:
            raise ValueError(f"the network's Lipschitz bound is {network.lipschitz}, it must be between 0 and 1")
        require_counts(n_terms=n_terms)
        require_positive(p=p)
        if p >= 1:
            raise ValueError(f"p is {p}, expected a chance below 1, without which an estimate would be biased")
        self.network, self.exact, self.n_terms, self.p = network, exact, n_terms, p

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, ...)` to the same shape."""
        create_graph = torch.is_grad_enabled()
        with tracked(x, context) as (x, context):
            g = self.network(x, context)
            exact = x.shape[1:].numel() <= EXACT_UP_TO if self.exact is None else self.exact
            log_det = self._exact(g, x, create_graph) if exact else self._estimate(g, x, create_graph)
            z = x + g
        return settle(z), settle(log_det)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        """Map latent to data.

        Raises:
            RuntimeError: The network does not contract by its bound.
        """
        # The singular values are computed once, not once an iteration.
        with full_precision(z), parametrize.cached():
            return invert_contraction(lambda x: self.network(x, context), z, self.network.lipschitz)

    def _exact(self, g: Tensor, x: Tensor, create_graph: bool) -> Tensor:
        matrix = widened(jacobian(g, x, create_graph))
        return torch.linalg.slogdet(matrix + torch.eye(matrix.shape[1], dtype=matrix.dtype, device=x.device)).logabsdet

    def _estimate(self, g: Tensor, x: Tensor, create_graph: bool) -> Tensor:
        extra = int(torch.distributions.Geometric(self.p).sample())
        total = zero_log_det(x)
        v = power = random_signs(x)
        for k in range(1, self.n_terms + extra + 1):
            power = pull_back(g, x, power, create_graph)
            reached = (1 - self.p) ** max(k - self.n_terms, 0)
            total = total - (-1) ** k / (k * reached) * widened(power * v).flatten(1).sum(1)
        return total


class ResidualFlow(Chain):
    """Residual blocks, each after an ActNorm, which gives the scale that a contraction cannot.

    Source: residual flows (arXiv:1906.02735).

    Args:
        n_features: Numbers in a vector.
        n_flows: Blocks.
        lipschitz: Bound on each block's network.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each network.
        n_layers: Its hidden layers.
        activation: As for `LipschitzMLP`. `Circle` bends more than the paper's `LipSwish`, since it keeps slopes: in
            two dimensions by tenths of a nat.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 8,
        *,
        lipschitz: float = 0.9,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 3,
        activation: Callable[[], LipSwish | Circle] = LipSwish,
    ) -> None:
        require_counts(n_features=n_features, n_flows=n_flows)
        steps: list[Bijection] = []
        for _ in range(n_flows):
            network = LipschitzMLP(
                n_features,
                lipschitz,
                context_channels=context_channels,
                n_channels=n_channels,
                n_layers=n_layers,
                activation=activation,
            )
            steps += [ActNorm(n_features), Residual(network)]
        super().__init__(steps)
