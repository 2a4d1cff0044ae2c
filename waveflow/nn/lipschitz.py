"""Networks that contract: no two inputs end up further apart than they were, times a constant below one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.mlp import softplus_from_one
from waveflow.settings import require_counts, require_positive


class SpectralBound(nn.Module):
    """Scale a matrix down until its largest singular value is at most `bound`; leave it alone if it is.

    The singular value is computed exactly, since the estimate of a few power iterations lies below it, and the bound
    would not hold.

    Source: i-ResNet (arXiv:1811.00995), section 2.1.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, weight: Tensor) -> Tensor:
        largest = torch.linalg.matrix_norm(weight.to(torch.promote_types(weight.dtype, torch.float32)), 2)
        return (weight / (largest / self.bound).clamp_min(1)).to(weight.dtype)


class LipSwish(nn.Module):
    """`x sigmoid(b x) / 1.1`, a smooth activation of slope at most 1, b learned and positive.

    Source: residual flows (arXiv:1906.02735), section 3.3.
    """

    n_outputs = 1

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(softplus_from_one(self.raw) * x) / 1.1


class Circle(nn.Module):
    """Wind each number around a circle, `(sin(b x), cos(b x)) / b`, b learned and positive; twice the channels.

    As long as the number's way is the way along the circle: the slope is 1 everywhere, where that of a rectifier is
    half of it or nothing for half of the numbers, so that layers on layers contract no more than they must.

    Source: the pair of Fourier features (arXiv:2006.10739), with b and the weights before it learned.

    Args:
        frequency: b to begin with, for numbers of size 1.
    """

    n_outputs = 2

    def __init__(self, frequency: float = 3.0) -> None:
        super().__init__()
        self.frequency = frequency
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C)` to `(B, 2 C)`."""
        b = self.frequency * softplus_from_one(self.raw)
        return torch.cat([torch.sin(b * x), torch.cos(b * x)], dim=1) / b


class LipschitzMLP(nn.Module):
    """A fully connected network with `||g(x) - g(y)|| <= lipschitz ||x - y||`, whatever its weights.

    Args:
        n_features: Numbers in, and out.
        lipschitz: The bound on the whole network.
        context_channels: Numbers of the context's features, added to the first layer without a bound; 0 for none.
        n_channels: Width of the hidden layers.
        n_layers: How many there are.
        activation: `LipSwish`, `Circle`, or another module class of slope at most 1, whose `n_outputs` are the numbers
            that it makes of one.
    """

    def __init__(
        self,
        n_features: int,
        lipschitz: float = 0.9,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 3,
        activation: Callable[[], LipSwish | Circle] = LipSwish,
    ) -> None:
        super().__init__()
        require_counts(n_features=n_features, n_channels=n_channels, n_layers=n_layers)
        require_counts(0, context_channels=context_channels)
        require_positive(lipschitz=lipschitz)
        self.lipschitz = lipschitz
        activations = [activation() for _ in range(n_layers)]
        n_in = [n_features, *(n_channels * each.n_outputs for each in activations)]
        n_out = [*[n_channels] * n_layers, n_features]
        layers = [nn.Linear(n, m) for n, m in zip(n_in, n_out)]
        each = lipschitz ** (1 / len(layers))
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", SpectralBound(each))
        self.layers = nn.ModuleList(layers)
        self.activations = nn.ModuleList(activations)
        self.context = nn.Linear(context_channels, n_channels, bias=False) if context_channels else None

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, D)`, told features `(B, context_channels)`, to `(B, D)`.

        Raises:
            ValueError: It was built for context and none is given.
        """
        h = self.layers[0](x)
        if self.context is not None:
            h = h + self.context(required(as_context(context).features, self.context.in_features))
        for activation, layer in zip(self.activations, self.layers[1:]):
            h = layer(activation(h))
        return h
