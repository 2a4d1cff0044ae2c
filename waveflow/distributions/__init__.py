"""Densities made of a simple one and a bijection, and the bridge to torch.distributions."""

from waveflow.distributions.bases import IndependentSymbols, StandardNormal
from waveflow.distributions.flow import Flow
from waveflow.distributions.transforms import BijectionTransform, TransformBijection, as_transform, from_transform

__all__ = [
    "BijectionTransform",
    "Flow",
    "IndependentSymbols",
    "StandardNormal",
    "TransformBijection",
    "as_transform",
    "from_transform",
]
