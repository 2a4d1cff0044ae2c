"""Invertible maps with tractable determinants, one family a file, all behind the one interface of `Bijection`."""

from waveflow.bijections.actnorm import ActNorm
from waveflow.bijections.affine import ConditionalScale
from waveflow.bijections.base import Bijection, Chain, EarlyOutputs, InverseNotAvailable
from waveflow.bijections.coupling import AdditiveCoupling, AffineCoupling, Coupling
from waveflow.bijections.linear import FixedLinear, InvertibleConv1x1, InvertibleConv1x1LU
from waveflow.bijections.squeeze import LappedSqueeze, Squeeze

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "Bijection",
    "Chain",
    "ConditionalScale",
    "Coupling",
    "EarlyOutputs",
    "FixedLinear",
    "InverseNotAvailable",
    "InvertibleConv1x1",
    "InvertibleConv1x1LU",
    "LappedSqueeze",
    "Squeeze",
]
