"""Every bijection as one line, small enough for its full Jacobian; the contract test takes them all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from waveflow import bijections as b
from waveflow.nn import WaveNet


@dataclass(frozen=True)
class Case:
    """A bijection and the data it takes.

    name: What the test report calls it.
    build: Makes it with fresh weights.
    shape: Of one item of data.
    context: Shape of one item of the context's features; None where it takes none.
    positions: Length of the mask of a padded batch of sequences; None where nothing can be padded.
    solved: Tolerance of an inverse that is solved for, in float64; None where it is a formula.
    autocast: Claims to stay invertible when autocast lowers its conditioner to bfloat16.
    """

    name: str
    build: Callable[[], b.Bijection]
    shape: tuple[int, ...]
    context: tuple[int, ...] | None = None
    positions: int | None = None
    solved: float | None = None
    autocast: bool = False


def wavenet(in_channels: int, out_channels: int, context_channels: int = 0) -> WaveNet:
    return WaveNet(in_channels, out_channels, context_channels=context_channels, n_channels=6, n_layers=2)


def fixed_linear() -> b.FixedLinear:
    weight = torch.randn(4, 4, dtype=torch.float64)
    return b.FixedLinear(weight, torch.linalg.inv(weight), torch.linalg.slogdet(weight).logabsdet)


def early_outputs() -> b.EarlyOutputs:
    steps = [
        b.Chain([b.InvertibleConv1x1(6), b.AffineCoupling(wavenet(3, 6, 3))]),
        b.Chain([b.InvertibleConv1x1(4), b.AffineCoupling(wavenet(2, 4, 3))]),
    ]
    return b.EarlyOutputs(steps, [0, 2])


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
    Case("chain-early-outputs", early_outputs, (6, 5), (3, 5), positions=5),
]
