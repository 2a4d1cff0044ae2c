"""Two-dimensional densities on the square [-4, 4] x [-4, 4], each one known up to its constant."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

EDGE = 4.0
N_CELLS = 800


def moons(x: Tensor) -> Tensor:
    """Two interlocking half circles of radius 2, blurred."""
    upper = half_circle(x, centre=(-1.0, -0.5), up=True)
    lower = half_circle(x, centre=(1.0, 0.5), up=False)
    return torch.logaddexp(gaussian(upper, 0.2), gaussian(lower, 0.2))


def rings(x: Tensor) -> Tensor:
    """Three concentric rings."""
    r = x.norm(dim=-1)
    return torch.logsumexp(torch.stack([gaussian(r - radius, 0.15) for radius in (1.0, 2.0, 3.0)]), dim=0)


def checkerboard(x: Tensor) -> Tensor:
    """Every other of 4 x 4 squares, uniformly."""
    square = (x / 2).floor()
    return torch.where(square.sum(-1) % 2 == 0, 0.0, -torch.inf)


def energy_1(x: Tensor) -> Tensor:
    """A ring that is dense on its left and right."""
    sides = torch.logaddexp(gaussian(x[..., 0] - 2, 0.6), gaussian(x[..., 0] + 2, 0.6))
    return gaussian(x.norm(dim=-1) - 2, 0.4) + sides


def energy_2(x: Tensor) -> Tensor:
    """A sine wave."""
    return gaussian(x[..., 1] - wave(x), 0.4)


def energy_3(x: Tensor) -> Tensor:
    """A sine wave with a bump beside it."""
    bump = 3 * torch.exp(gaussian(x[..., 0] - 1, 0.6))
    off = x[..., 1] - wave(x)
    return torch.logaddexp(gaussian(off, 0.35), gaussian(off + bump, 0.35))


def energy_4(x: Tensor) -> Tensor:
    """A sine wave that forks."""
    step = 3 * torch.sigmoid((x[..., 0] - 1) / 0.3)
    off = x[..., 1] - wave(x)
    return torch.logaddexp(gaussian(off, 0.4), gaussian(off + step, 0.35))


# The four energies: Rezende and Mohamed (arXiv:1505.05770), table 1.
TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    function.__name__: function for function in (moons, rings, checkerboard, energy_1, energy_2, energy_3, energy_4)
}


def gaussian(x: Tensor, sigma: float) -> Tensor:
    return -0.5 * (x / sigma).square()


def wave(x: Tensor) -> Tensor:
    return torch.sin(math.pi / 2 * x[..., 0])


def half_circle(x: Tensor, centre: tuple[float, float], up: bool) -> Tensor:
    """Distance to the upper or lower half of a circle of radius 2."""
    x = x - x.new_tensor(centre)
    if not up:
        x = -x
    end = torch.stack([x[..., 0].abs() - 2, x[..., 1]], dim=-1).norm(dim=-1)
    return torch.where(x[..., 1] > 0, (x.norm(dim=-1) - 2).abs(), end)


class Target:
    """A density by name, normalised and sampled on a grid so fine that its cells do not matter.

    Args:
        name: A key of `TARGETS`.
    """

    def __init__(self, name: str) -> None:
        self.log_density = TARGETS[name]
        self.cell = 2 * EDGE / N_CELLS
        self.centres = grid(N_CELLS)
        log_mass = self.log_density(self.centres)
        self.log_constant = torch.logsumexp(log_mass, 0) + 2 * math.log(self.cell)
        self.cumulative = log_mass.double().softmax(0).cumsum(0)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `(n, 2)`: a cell by its mass, a place in it uniformly."""
        uniform = torch.rand(n, generator=generator, dtype=torch.float64) * self.cumulative[-1]
        cell = torch.searchsorted(self.cumulative, uniform)
        return self.centres[cell] + self.cell * (torch.rand(n, 2, generator=generator) - 0.5)

    def log_prob(self, x: Tensor) -> Tensor:
        """The normalised log-density, nats."""
        return self.log_density(x) - self.log_constant


def grid(n_cells: int) -> Tensor:
    """The centres of n x n cells of the square, `(n * n, 2)`, first coordinate slowest."""
    axis = (torch.arange(n_cells) + 0.5) * (2 * EDGE / n_cells) - EDGE
    return torch.cartesian_prod(axis, axis)
