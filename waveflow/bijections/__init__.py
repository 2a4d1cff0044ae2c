"""Invertible maps with tractable determinants, one family a file, behind the one interface of `Bijection`."""

from waveflow.bijections.actnorm import ActNorm
from waveflow.bijections.affine import Affine, ConditionalScale
from waveflow.bijections.autoregressive import IAF, MAF, MaskedAutoregressive
from waveflow.bijections.base import Bijection, Chain, EarlyOutputs, InverseNotAvailable
from waveflow.bijections.continuous import Continuous
from waveflow.bijections.contract import BrokenPromise, check_bijection
from waveflow.bijections.coupling import AdditiveCoupling, AffineCoupling, Coupling, NormalizingCoupling
from waveflow.bijections.discrete import DiscreteAutoregressive
from waveflow.bijections.elementwise import AffineMap, Elementwise, GatedMap, ShiftMap
from waveflow.bijections.glow import Glow, GlowStep, Squeeze2d
from waveflow.bijections.height_autoregressive import HeightAutoregressive
from waveflow.bijections.inverse import Inverse
from waveflow.bijections.linear import FixedLinear, InvertibleConv1x1, InvertibleConv1x1LU
from waveflow.bijections.multiscale import MultiScale, Scale
from waveflow.bijections.neural_autoregressive import NAF, SigmoidalMap
from waveflow.bijections.nice import NICE
from waveflow.bijections.permutation import Permutation
from waveflow.bijections.planar import Planar
from waveflow.bijections.projected import ProjectedContext
from waveflow.bijections.radial import Radial
from waveflow.bijections.realnvp import ImageRealNVP, MaskedCoupling, RealNVP
from waveflow.bijections.residual import Residual, ResidualFlow
from waveflow.bijections.spline import NSF, SplineCoupling, SplineMap
from waveflow.bijections.squeeze import LappedSqueeze, Squeeze
from waveflow.bijections.sylvester import Sylvester

__all__ = [
    "IAF",
    "MAF",
    "NAF",
    "NICE",
    "NSF",
    "ActNorm",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "AffineMap",
    "Bijection",
    "BrokenPromise",
    "Chain",
    "ConditionalScale",
    "Continuous",
    "Coupling",
    "DiscreteAutoregressive",
    "EarlyOutputs",
    "Elementwise",
    "FixedLinear",
    "GatedMap",
    "Glow",
    "GlowStep",
    "HeightAutoregressive",
    "ImageRealNVP",
    "Inverse",
    "InverseNotAvailable",
    "InvertibleConv1x1",
    "InvertibleConv1x1LU",
    "LappedSqueeze",
    "MaskedAutoregressive",
    "MaskedCoupling",
    "MultiScale",
    "NormalizingCoupling",
    "Permutation",
    "Planar",
    "ProjectedContext",
    "Radial",
    "RealNVP",
    "Residual",
    "ResidualFlow",
    "Scale",
    "ShiftMap",
    "SigmoidalMap",
    "SplineCoupling",
    "SplineMap",
    "Squeeze",
    "Squeeze2d",
    "Sylvester",
    "check_bijection",
]
