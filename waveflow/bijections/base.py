"""The one interface: everything invertible is a `Bijection`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from waveflow.nn.context import Context, as_context
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts


class InverseNotAvailable(RuntimeError):
    """The family defines no inverse, neither in closed form nor by a solver of stated tolerance."""


class Bijection(nn.Module):
    """An invertible map from data to latent with a tractable Jacobian determinant.

    `forward` goes from data to latent, the pass that likelihood training needs, so that DDP and torch.compile wrap it
    unaided. `context` is whatever conditions the map: a tensor, or a `Context` with the mask of a padded batch.
    """

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map data `x` to latent `z`; also `log_det = log |det dz/dx|`, shape `(B,)`, nats, at least float32."""
        raise TypeError(f"{type(self).__name__} does not define forward(x, context)")

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        """Map latent `z` to data `x`, without computing a determinant.

        Raises:
            InverseNotAvailable: The family has no inverse.
        """
        raise InverseNotAvailable(
            f"{type(self).__name__} has no inverse; train and score with it, or choose a family that can be sampled"
        )

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map latent `z` to data `x`; also `log |det dx/dz|`, shape `(B,)`, nats, at least float32."""
        x = self.inverse(z, context)
        _, log_det = self(x, context)
        return x, -log_det


class Chain(Bijection):
    """Apply bijections one after another, data to latent in the order given.

    Args:
        steps: The bijections; all are told the same context.
    """

    def __init__(self, steps: Iterable[Bijection]) -> None:
        super().__init__()
        self.steps = ModuleListOf(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Bijection]:
        return iter(self.steps)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        total = zero_log_det(x)
        for step in self.steps:
            x, log_det = step(x, context)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        for step in reversed(self.steps):
            z = step.inverse(z, context)
        return z

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        total = zero_log_det(z)
        for step in reversed(self.steps):
            z, log_det = step.inverse_and_log_det(z, context)
            total = total + log_det
        return z, total


class EarlyOutputs(Chain):
    """A chain in which some channels become latent before the last step.

    Before step `k`, the first `early[k]` channels leave for the latent and the remaining steps see the others. The
    latent has the channels in the order in which they left, so that `z` has the shape of `x`.

    Source: the multi-scale architecture of RealNVP (arXiv:1605.08803), as used in WaveGlow (arXiv:1811.00002).

    Args:
        steps: The bijections, each built for the channels that are left when its turn comes.
        early: For each step, how many channels leave before it; as long as `steps`.

    Raises:
        ValueError: `early` has not one whole number of at least 0 for each step.
    """

    def __init__(self, steps: Iterable[Bijection], early: Sequence[int]) -> None:
        super().__init__(steps)
        if len(early) != len(self.steps):
            raise ValueError(f"early has {len(early)} entries for {len(self.steps)} steps; give one per step")
        for n in early:
            require_counts(0, early=n)
        self.early = tuple(early)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        total = zero_log_det(x)
        left = []
        for n, step in zip(self.early, self.steps):
            if n:
                left.append(x[:, :n])
                x = x[:, n:]
            x, log_det = step(x, context)
            total = total + log_det
        return torch.cat([*left, x], dim=1), total

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        left, z = self._split(z)
        for part, step in zip(reversed(left), reversed(self.steps)):
            z = step.inverse(z, context)
            z = torch.cat([part, z], dim=1) if part.shape[1] else z
        return z

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        total = zero_log_det(z)
        left, z = self._split(z)
        for part, step in zip(reversed(left), reversed(self.steps)):
            z, log_det = step.inverse_and_log_det(z, context)
            total = total + log_det
            z = torch.cat([part, z], dim=1) if part.shape[1] else z
        return z, total

    def _split(self, z: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """What left before each step, with no channels where nothing did, and what the last step sees."""
        parts = z.split([*self.early, z.shape[1] - sum(self.early)], dim=1)
        return parts[:-1], parts[-1]


def zero_log_det(x: Tensor) -> Tensor:
    """A log-determinant of zero for each item of `x`."""
    return x.new_zeros(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))


def sum_log_det(log_s: Tensor, context: Tensor | Context | None = None) -> Tensor:
    """Add up `log_s` over all but the batch, leaving out the padding, in float32 or better."""
    log_s = widened(log_s)
    mask = as_context(context).mask
    if mask is not None:
        log_s = log_s * mask
    return log_s.flatten(1).sum(1)


def count_positions(x: Tensor, context: Tensor | Context | None = None) -> Tensor | int:
    """Positions of each item of `x`, shape `(B, C, ...)`, that are not padding: `(B,)`, or one number for all."""
    mask = as_context(context).mask
    return x.shape[2:].numel() if mask is None else mask.flatten(1).sum(1)


def widened(x: Tensor) -> Tensor:
    """x in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> torch.autocast:
    """Keep autocast away from an operation that must stay exactly invertible."""
    return torch.autocast(x.device.type, enabled=False)
