"""Densities of actions, told what is observed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, ComposeTransform, Distribution, Independent, Normal, TanhTransform

from waveflow import Flow
from waveflow.bijections import NSF, Bijection, Chain
from waveflow.distributions import from_transform
from waveflow.nn.mlp import MLP

LEAST = 0.02
"""Standard deviation of the normal, at least: a policy that no longer tries anything no longer learns."""

EDGE = 1e-4
"""Actions nearer to an edge of the box, as a share of half of it, count as this near: the density overflows there."""


class ToldNormal(nn.Module):
    """A normal whose mean the observation decides and whose scale is free, as policies of control mostly have.

    Args:
        n_observed: Numbers of an observation.
        n_actions: Numbers of an action.
    """

    def __init__(self, n_observed: int, n_actions: int) -> None:
        super().__init__()
        self.mean = MLP(n_observed, n_actions, activation=nn.Tanh)
        self.log_scale = nn.Parameter(torch.full((n_actions,), -0.5))

    def forward(self, context: Tensor) -> Distribution:
        scale = self.log_scale.exp() + LEAST
        return Independent(Normal(self.mean(context), scale, validate_args=False), 1)


class Squash(TanhTransform):
    """The tanh, whose inverse holds numbers out of a sliver at both ends."""

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(y.clamp(EDGE - 1, 1 - EDGE))


def box(low: Tensor, high: Tensor) -> Bijection:
    """Actions in the box, from anywhere."""
    half = (high - low) / 2
    return from_transform(ComposeTransform([Squash(), AffineTransform((low + high) / 2, half)]))


def spline(n_observed: int, n_actions: int) -> Bijection:
    """Splines in which every bin may grow or shrink as the observation says."""
    return NSF(
        n_actions, 2, autoregressive=True, n_bins=8, bound=3.0, context_channels=n_observed, n_channels=64, n_layers=1
    )


def gaussian(n_observed: int, low: Tensor, high: Tensor) -> Flow:
    """A normal over all numbers in units of the box, which the task clips."""
    half = (high - low) / 2
    scale = from_transform(AffineTransform((low + high) / 2, half))
    return Flow(ToldNormal(n_observed, len(low)), scale)


def bounded(n_observed: int, low: Tensor, high: Tensor) -> Flow:
    """The same through a tanh into the box."""
    return Flow(ToldNormal(n_observed, len(low)), box(low, high))


def flow(n_observed: int, low: Tensor, high: Tensor) -> Flow:
    """The same again, through splines before the tanh: any shape, with several modes, and within the box."""
    return Flow(ToldNormal(n_observed, len(low)), Chain([box(low, high), spline(n_observed, len(low))]))


POLICIES: dict[str, Callable[[int, Tensor, Tensor], Flow]] = {
    "gaussian": gaussian,
    "bounded gaussian": bounded,
    "flow": flow,
}
