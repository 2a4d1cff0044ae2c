"""Posteriors for the four energies of Rezende and Mohamed (arXiv:1505.05770)."""

from __future__ import annotations

from typing import Any

import torch
from common import fit
from densities.targets import EDGE, TARGETS
from posteriors import FAMILIES, AffineNormal
from torch import Tensor

from waveflow import Flow

NAMES = ("energy_1", "energy_2", "energy_3", "energy_4")
WALL = 0.2
N_CELLS = 1000


def log_density(name: str, x: Tensor) -> Tensor:
    """An energy with walls, without its constant.

    Three of the four run on for ever along the first axis, so that they are no densities of the plane. Outside the
    square the mass falls off as a Gaussian.
    """
    outside = torch.relu(x.abs() - EDGE).square().sum(-1)
    return TARGETS[name](x) - 0.5 * outside / WALL**2


def log_constant(name: str) -> float:
    """The logarithm of the mass of an energy, on a grid."""
    edge = EDGE + 5 * WALL
    axis = (torch.arange(N_CELLS) + 0.5) * (2 * edge / N_CELLS) - edge
    return float(
        torch.logsumexp(log_density(name, torch.cartesian_prod(axis, axis)), 0) + 2 * (axis[1] - axis[0]).log()
    )


def posterior(family: str, length: int) -> Flow:
    """A fresh flow over the plane, wide enough to begin with to see all of an energy."""
    base = AffineNormal(2)
    base.free.data[2:] = 1.5
    return Flow(base, FAMILIES[family](2, length, 0))


def infer(
    name: str, family: str, length: int, *, steps: int, batch_size: int, learning_rate: float, n_test: int, seed: int
) -> tuple[Flow, dict[str, Any]]:
    """Fit a flow q to an energy U by its bound, `E_q[-U - log q] <= log Z`.

    For the first half of the steps the energy counts for less, as in the paper, lest q settle on one mode.

    Returns:
        The flow, and its gap `log Z - bound = KL(q || p)` over fresh draws, nats, beside what it cost.
    """
    torch.manual_seed(seed)
    flow = posterior(family, length)

    def loss(step: int) -> Tensor:
        x, log_q = flow.rsample_and_log_prob(batch_size)
        weight = min(1.0, 0.05 + 2 * step / steps)
        return (log_q - weight * log_density(name, x)).mean()

    seconds = fit(flow.parameters(), loss, steps, learning_rate)
    with torch.no_grad():
        x, log_q = flow.rsample_and_log_prob(n_test)
        bound = (log_density(name, x) - log_q).mean().item()
    row = {"target": name, "family": family, "length": length, "gap": log_constant(name) - bound, "seconds": seconds}
    return flow, row
