"""NICE: additive couplings and one scaling."""

from __future__ import annotations

from torch import nn

from waveflow.bijections.affine import Affine
from waveflow.bijections.base import Chain
from waveflow.bijections.coupling import AdditiveCoupling
from waveflow.nn.mlp import MLP
from waveflow.settings import require_counts


class NICE(Chain):
    """Additive couplings that change one half and the other by turns, then a scale and shift per number.

    Source: NICE (arXiv:1410.8516), which halves by odd and even places, and only scales at the end.

    Args:
        n_features: Numbers in a vector, even.
        n_flows: Couplings.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each coupling's MLP.
        n_layers: Its hidden layers.

    Raises:
        ValueError: n_features is odd.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 4,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
    ) -> None:
        require_counts(n_features=n_features, n_flows=n_flows)
        if n_features % 2:
            raise ValueError(f"n_features is {n_features}, but NICE halves them; give an even number, or take RealNVP")
        half = n_features // 2
        couplings = [
            AdditiveCoupling(
                MLP(
                    half,
                    half,
                    context_channels=context_channels,
                    n_channels=n_channels,
                    n_layers=n_layers,
                    activation=nn.GELU,
                ),
                swap=k % 2 == 1,
            )
            for k in range(n_flows)
        ]
        super().__init__([*couplings, Affine(n_features, context_channels)])
