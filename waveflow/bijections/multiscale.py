"""Blocks of a flow at ever lower rates, with part of the channels leaving on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, zero_log_det
from waveflow.bijections.coupling import Coupling
from waveflow.nn.context import Context, as_context
from waveflow.nn.grouping import group_samples, ungroup_samples
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts

_Undo = Callable[[Bijection, Tensor, Context], "tuple[Tensor, Tensor | float]"]


class Scale(nn.Module):
    """One block of a `MultiScale`.

    Args:
        factor: Neighbouring vectors that become one before the block, data and context alike.
        steps: The flow of the block.
        prior: Changes the second half of the channels, as told by the first and the context, before it leaves for
            the latent; None where nothing leaves.
    """

    def __init__(self, factor: int, steps: Bijection, prior: Coupling | None = None) -> None:
        super().__init__()
        require_counts(factor=factor)
        self.factor, self.steps, self.prior = factor, steps, prior


class MultiScale(Bijection):
    """Run blocks one after another; before each, neighbouring vectors become one.

    Data, latent and context have the samples of a group as channels, the group being the product of all factors.
    Each block sees them regrouped at its own rate, channel `c * factor + i` being channel `c` of the `i`-th of the
    vectors that became one. Latent channels are put where the data channels they came of were.

    Source: multi-scale architecture of RealNVP (arXiv:1605.08803), with the learned prior of OpenAI's code of Glow
    (arXiv:1807.03039); over time as in FloWaveNet (arXiv:1811.02155).

    Args:
        scales: The blocks, the highest rate first.
    """

    def __init__(self, scales: Iterable[Scale]) -> None:
        super().__init__()
        self.scales = ModuleListOf(scales)
        self.n_group = math.prod(scale.factor for scale in self.scales)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: Squeezed audio, `(B, n_group, L)`.
            context: Features `(B, C * n_group, L)`, sample index fastest; mask `(B, 1, L)`.

        Returns:
            `z` of x's shape; `log_det` of shape `(B,)`, nats.

        Raises:
            ValueError: x has another number of channels.
        """
        x, total, left = self._samples(x), zero_log_det(x), []
        for scale, told in zip(self.scales, self.contexts(context)):
            x, log_det = scale.steps(group_samples(x, scale.factor), told)
            total = total + log_det
            if scale.prior is not None:
                x, log_det = scale.prior(x, told)
                total = total + log_det
                x, early = x.chunk(2, dim=1)
                left.append(early)
        for scale in reversed(self.scales):
            if scale.prior is not None:
                x = torch.cat([x, left.pop()], dim=1)
            x = ungroup_samples(x, scale.factor)
        return group_samples(x, self.n_group), total

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._invert(z, context, _inverse_alone)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self._invert(z, context, _inverse_and_log_det)

    def _invert(self, z: Tensor, context: Tensor | Context | None, undo: _Undo) -> tuple[Tensor, Tensor]:
        x, total, left = self._samples(z), zero_log_det(z), []
        for scale in self.scales:
            x = group_samples(x, scale.factor)
            if scale.prior is not None:
                x, early = x.chunk(2, dim=1)
                left.append(early)
        contexts = list(self.contexts(context))
        for scale, told in zip(reversed(self.scales), reversed(contexts)):
            if scale.prior is not None:
                x, log_det = undo(scale.prior, torch.cat([x, left.pop()], dim=1), told)
                total = total + log_det
            x, log_det = undo(scale.steps, x, told)
            total = total + log_det
            x = ungroup_samples(x, scale.factor)
        return group_samples(x, self.n_group), total

    def _samples(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != self.n_group:
            raise ValueError(
                f"data has shape {tuple(x.shape)}, expected (B, {self.n_group}, L): one channel for each sample of "
                "a group"
            )
        return ungroup_samples(x, self.n_group)

    def contexts(self, context: Tensor | Context | None) -> Iterator[Context]:
        """What each block is told, at its own rate."""
        features, mask = as_context(context)
        if features is not None:
            features = ungroup_samples(features, self.n_group)
        repeat = self.n_group
        for scale in self.scales:
            repeat //= scale.factor
            if features is not None:
                features = group_samples(features, scale.factor)
            yield Context(features, None if mask is None else mask.repeat_interleave(repeat, dim=2))


def _inverse_alone(step: Bijection, z: Tensor, context: Context) -> tuple[Tensor, float]:
    return step.inverse(z, context), 0.0


def _inverse_and_log_det(step: Bijection, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    return step.inverse_and_log_det(z, context)
