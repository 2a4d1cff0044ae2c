"""Every family for two-dimensional data, at sizes that train in about the same time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from waveflow import bijections as b
from waveflow.distributions import from_transform
from waveflow.nn.lipschitz import Circle
from waveflow.nn.mlp import MLP, TimedMLP

FREQUENCY = 3.0
"""Of fresh sines, and the steepness of fresh sigmoids, for standardised data: they change some times over its width."""


class Sine(nn.Module):
    """`sin(b x) / b`: a smooth velocity that turns often, which takes many monotone units to make.

    Source: SIREN (arXiv:2006.09661), whose b is 30, and not divided by.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(FREQUENCY * x) / FREQUENCY


def zuko_spline() -> b.Bijection:
    """Zuko's autoregressive spline flow at its own default size, which is also that of `nsf-autoregressive`."""
    import zuko

    return from_transform(zuko.flows.NSF(2, transforms=3, bins=8, hidden_features=(64, 64)).transform.inv)


FAMILIES: dict[str, Callable[[], b.Bijection]] = {
    "gaussian": lambda: b.InvertibleConv1x1LU(2),
    "planar": lambda: b.Chain(b.Planar(2) for _ in range(16)),
    "radial": lambda: b.Chain(b.Radial(2) for _ in range(16)),
    "sylvester": lambda: b.Chain(b.Sylvester(2, 2) for _ in range(8)),
    "nice": lambda: b.NICE(2, 8),
    "realnvp": lambda: b.RealNVP(2, 8),
    "glow": lambda: b.Chain(b.GlowStep(2, MLP(1, 2, activation=nn.GELU), max_log_s=3.0) for _ in range(8)),
    "maf": lambda: b.MAF(2, 8),
    "iaf": lambda: b.IAF(2, 5, elementwise=b.AffineMap(max_log_s=3.0)),
    "naf": lambda: b.NAF(2, 3, n_units=32, steepness=FREQUENCY),
    # A coupling changes one of the two numbers: six are three autoregressions.
    "nsf": lambda: b.NSF(2, 6),
    "nsf-autoregressive": lambda: b.NSF(2, 3, autoregressive=True),
    "residual": lambda: b.ResidualFlow(
        2, 10, lipschitz=0.99, n_channels=32, n_layers=2, activation=lambda: Circle(FREQUENCY)
    ),
    "continuous": lambda: b.Continuous(
        TimedMLP(2, 2, n_channels=64, n_layers=2, activation=Sine), solver="rk4", n_steps=4
    ),
    "zuko-nsf": zuko_spline,
}


# Velocities and contractions of small weights move the data little, and have far to go.
RATES = {"continuous": 2.0, "residual": 4.0}
"""Learning rates, as multiples of the recipe's, of the families that learn better at another."""


def build(name: str) -> b.Bijection:
    """A fresh flow, after an ActNorm that standardises the data."""
    return b.Chain([b.ActNorm(2), FAMILIES[name]()])


def solve_exactly(flow: nn.Module) -> None:
    """Have continuous flows solved to their tolerances from now on.

    The log-determinant is that of the equation: of a few fixed steps it can claim more density than there is, and
    training finds out how.
    """
    for module in flow.modules():
        if isinstance(module, b.Continuous):
            module.solver, module.n_steps = "dopri5", None
