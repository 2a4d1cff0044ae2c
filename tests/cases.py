"""Every bijection as one line, small enough for its full Jacobian; the contract test takes them all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from waveflow import bijections as b
from waveflow.nn import WaveNet
from waveflow.nn.convnet import ConvNet
from waveflow.nn.lipschitz import Circle, LipschitzMLP
from waveflow.nn.made import MADE
from waveflow.nn.mlp import MLP, TimedMLP
from waveflow.nn.wavenet2d import WaveNet2D


@dataclass(frozen=True)
class Case:
    """A bijection and the data it takes.

    name: What the test report calls it.
    build: Makes it with fresh weights.
    shape: Of one item of data.
    context: Shape of one item of the context's features; None where it takes none.
    positions: Length of the mask of a padded batch of sequences; None where nothing can be padded.
    solved: Tolerance of an inverse that is solved for, in float64; None where it is a formula.
    n_symbols: Data are one-hot vectors of this size instead of real numbers; None for real numbers.
    autocast: Claims to stay invertible when autocast lowers its conditioner to bfloat16.
    """

    name: str
    build: Callable[[], b.Bijection]
    shape: tuple[int, ...]
    context: tuple[int, ...] | None = None
    positions: int | None = None
    solved: float | None = None
    n_symbols: int | None = None
    autocast: bool = False


def wavenet(in_channels: int, out_channels: int, context_channels: int = 0) -> WaveNet:
    return WaveNet(in_channels, out_channels, context_channels=context_channels, n_channels=6, n_layers=2)


def multiscale() -> b.MultiScale:
    return b.MultiScale(
        [
            b.Scale(2, b.AffineCoupling(wavenet(1, 2, 6))),
            b.Scale(2, b.AffineCoupling(wavenet(2, 4, 12)), b.NormalizingCoupling(wavenet(2, 4, 12))),
            b.Scale(2, b.AffineCoupling(wavenet(2, 4, 24))),
        ]
    )


def wavenet2d() -> WaveNet2D:
    return WaveNet2D(1, 2, context_channels=3, n_channels=6, n_layers=3, height_dilations=[1, 2, 1])


def fixed_linear() -> b.FixedLinear:
    weight = torch.randn(4, 4, dtype=torch.float64)
    return b.FixedLinear(weight, torch.linalg.inv(weight), torch.linalg.slogdet(weight).logabsdet)


def early_outputs() -> b.EarlyOutputs:
    steps = [
        b.Chain([b.InvertibleConv1x1(6), b.AffineCoupling(wavenet(3, 6, 3))]),
        b.Chain([b.InvertibleConv1x1(4), b.AffineCoupling(wavenet(2, 4, 3))]),
    ]
    return b.EarlyOutputs(steps, [0, 2])


SMALL = {"n_channels": 8, "n_layers": 2}


def mlp(in_channels: int, out_channels: int, context_channels: int = 0) -> MLP:
    return MLP(in_channels, out_channels, context_channels=context_channels, **SMALL)


def autoregressive(elementwise: b.Elementwise, order: list[int]) -> b.MaskedAutoregressive:
    made = MADE(len(order), elementwise.n_parameters, context_channels=2, order=order, **SMALL)
    return b.MaskedAutoregressive(made, elementwise)


def masked_spline() -> b.MaskedCoupling:
    spline = b.SplineMap(5, bound=2.0)
    return b.MaskedCoupling(torch.arange(5) < 2, mlp(5, 5 * spline.n_parameters, 2), spline)


def discrete() -> b.DiscreteAutoregressive:
    made = MADE(3, 4, context_channels=2, order=[1, 2, 0], n_inputs=4, **SMALL)
    return b.DiscreteAutoregressive(made, temperature=1.0)


def continuous(adjoint: bool = False) -> b.Continuous:
    velocity = TimedMLP(3, 3, context_channels=2, activation=torch.nn.Tanh, **SMALL)
    return b.Continuous(velocity, rtol=1e-9, atol=1e-9, adjoint=adjoint)


CASES = [
    Case("squeeze", lambda: b.Squeeze(4), (24,), positions=6, autocast=True),
    Case("lapped-sine", lambda: b.LappedSqueeze(4), (24,), positions=6, autocast=True),
    Case("lapped-kbd", lambda: b.LappedSqueeze(6, "kbd", overlap=4), (24,), positions=4, autocast=True),
    Case("fixed-linear", fixed_linear, (4, 5), positions=5),
    Case("conv1x1", lambda: b.InvertibleConv1x1(4), (4, 5), positions=5, autocast=True),
    Case("conv1x1-lu", lambda: b.InvertibleConv1x1LU(4), (4, 5), positions=5, autocast=True),
    Case("conv1x1-vector", lambda: b.InvertibleConv1x1(5), (5,), autocast=True),
    Case("actnorm", lambda: b.ActNorm(4), (4, 5), positions=5, autocast=True),
    Case("actnorm-image", lambda: b.ActNorm(2), (2, 3, 3), autocast=True),
    Case(
        "scale-by-context",
        lambda: b.ConditionalScale(torch.nn.Conv1d(3, 4, 1)),
        (4, 5),
        (3, 5),
        positions=5,
        autocast=True,
    ),
    Case("coupling", lambda: b.AffineCoupling(wavenet(2, 4, 3)), (4, 5), (3, 5), positions=5, autocast=True),
    Case(
        "coupling-bounded",
        lambda: b.AffineCoupling(wavenet(2, 4), max_log_s=0.5, swap=True),
        (4, 5),
        positions=5,
        autocast=True,
    ),
    Case(
        "coupling-additive",
        lambda: b.AdditiveCoupling(wavenet(2, 2, 3)),
        (4, 5),
        (3, 5),
        positions=5,
        autocast=True,
    ),
    Case("permutation", lambda: b.Permutation([2, 0, 3, 1]), (4, 5), positions=5, autocast=True),
    Case(
        "height-autoregressive",
        lambda: b.HeightAutoregressive(wavenet2d(), [2, 0, 3, 1]),
        (4, 5),
        (12, 5),
        positions=5,
        autocast=True,
    ),
    Case(
        "coupling-normalizing",
        lambda: b.NormalizingCoupling(wavenet(2, 4, 3)),
        (4, 5),
        (3, 5),
        positions=5,
        autocast=True,
    ),
    Case(
        "projected-context",
        lambda: b.ProjectedContext(b.AffineCoupling(wavenet(2, 4, 3)), torch.nn.Conv1d(2, 3, 1)),
        (4, 5),
        (2, 5),
        positions=5,
        autocast=True,
    ),
    Case("multiscale", multiscale, (8, 3), (24, 3), positions=3),
    Case("chain-early-outputs", early_outputs, (6, 5), (3, 5), positions=5),
    Case("affine", lambda: b.Affine(5), (5,), autocast=True),
    Case("affine-context", lambda: b.Affine(3, 2), (3,), (2,), autocast=True),
    Case("affine-sequence", lambda: b.Affine(4), (4, 5), positions=5, autocast=True),
    Case("inverse", lambda: b.Inverse(b.Affine(4)), (4,)),
    Case("planar", lambda: b.Planar(5), (5,), solved=1e-10, autocast=True),
    Case("planar-context", lambda: b.Planar(3, 2), (3,), (2,), solved=1e-10, autocast=True),
    Case("planar-one-number", lambda: b.Planar(1), (1,), solved=1e-10),
    Case("radial", lambda: b.Radial(5), (5,), autocast=True),
    Case("radial-context", lambda: b.Radial(3, 2), (3,), (2,), autocast=True),
    Case("sylvester", lambda: b.Sylvester(5, 3), (5,), solved=1e-10, autocast=True),
    Case("sylvester-context", lambda: b.Sylvester(3, 3, 2), (3,), (2,), solved=1e-10, autocast=True),
    Case("nice", lambda: b.NICE(4, 3, context_channels=2, **SMALL), (4,), (2,)),
    Case("realnvp", lambda: b.RealNVP(5, 3, **SMALL), (5,)),
    Case("realnvp-context", lambda: b.RealNVP(3, 2, context_channels=2, **SMALL), (3,), (2,)),
    Case(
        "realnvp-image",
        lambda: b.ImageRealNVP((1, 4, 4), 2, 2, context_channels=2, n_channels=4),
        (1, 4, 4),
        (2,),
    ),
    Case("squeeze-2d", b.Squeeze2d, (2, 4, 6), autocast=True),
    Case("glow-step", lambda: b.GlowStep(4, ConvNet(2, 4, n_channels=4), lu=True), (4, 3, 3)),
    Case("glow-step-sequence", lambda: b.GlowStep(4, wavenet(2, 4, 3)), (4, 5), (3, 5), positions=5),
    Case("glow", lambda: b.Glow(1, 2, 2, context_channels=2, n_hidden=4), (1, 4, 4), (2,)),
    Case("maf", lambda: b.MAF(4, 2, **SMALL), (4,)),
    Case("maf-random-orders", lambda: b.MAF(5, 2, random_orders=True, context_channels=2, **SMALL), (5,), (2,)),
    Case("maf-one-number", lambda: b.MAF(1, 1, context_channels=2, **SMALL), (1,), (2,)),
    Case("autoregressive-shift", lambda: autoregressive(b.ShiftMap(), [2, 0, 1]), (3,), (2,)),
    Case("autoregressive-bounded", lambda: autoregressive(b.AffineMap(0.5), [1, 2, 0]), (3,), (2,)),
    Case("iaf", lambda: b.IAF(4, 2, context_channels=2, **SMALL), (4,), (2,)),
    Case("iaf-affine", lambda: b.IAF(3, 2, elementwise=b.AffineMap(3.0), **SMALL), (3,)),
    Case("naf", lambda: b.NAF(3, 2, n_units=4, context_channels=2, **SMALL), (3,), (2,), solved=1e-9),
    Case("naf-steep", lambda: b.NAF(3, 2, n_units=4, steepness=3.0, **SMALL), (3,), solved=1e-9),
    Case("nsf", lambda: b.NSF(4, 2, n_bins=4, bound=2.0, **SMALL), (4,)),
    Case(
        "nsf-autoregressive",
        lambda: b.NSF(3, 2, autoregressive=True, context_channels=2, **SMALL),
        (3,),
        (2,),
    ),
    Case(
        "spline-coupling",
        lambda: b.SplineCoupling(wavenet(2, 28, 3), 5, 1.5),
        (4, 5),
        (3, 5),
        positions=5,
        autocast=True,
    ),
    Case("spline-masked", masked_spline, (5,), (2,), autocast=True),
    Case(
        "residual",
        lambda: b.Residual(LipschitzMLP(3, 0.8, context_channels=2, **SMALL)),
        (3,),
        (2,),
        solved=1e-9,
    ),
    Case("residual-flow", lambda: b.ResidualFlow(3, 2, lipschitz=0.7, **SMALL), (3,), solved=1e-9),
    Case(
        "residual-flow-circle",
        lambda: b.ResidualFlow(3, 2, lipschitz=0.7, activation=Circle, **SMALL),
        (3,),
        solved=1e-9,
    ),
    Case("discrete", discrete, (3, 4), (2,), n_symbols=4),
    Case("continuous", continuous, (3,), (2,), solved=1e-7),
    Case("continuous-adjoint", lambda: continuous(adjoint=True), (3,), (2,), solved=1e-7),
]
