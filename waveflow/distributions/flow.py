"""The density that a bijection makes of a simple one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from waveflow.bijections.base import Bijection
from waveflow.distributions.items import spread, unflatten
from waveflow.nn.context import Context


class Flow(nn.Module):
    """The density of data that a bijection maps to a simple latent.

        log p(x) = log base(f(x)) + log |det df/dx|

    Args:
        base: A `torch.distributions.Distribution` over one item's latent, without batch shape; or a module that gives
            one when called with the context, as `StandardNormal` does, which then moves with the flow and may learn.
        bijection: f, from data to latent.

    Raises:
        ValueError: `base` is no distribution of one item and no module that could give it, or `bijection` no bijection.
    """

    def __init__(self, base: Distribution | nn.Module, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(base, (Distribution, nn.Module)) or hasattr(base, "inverse"):
            raise ValueError(
                f"base is {named(base)}, expected a distribution or a module that gives one, "
                "as in Flow(StandardNormal(2), bijection)"
            )
        # By its method: what torch.compile returns is of another class.
        if not isinstance(bijection, nn.Module) or not hasattr(bijection, "inverse"):
            raise ValueError(
                f"bijection is {named(bijection)}, expected a Bijection; "
                "make one of several with Chain([...]), of a torch or zuko transform with from_transform"
            )
        if isinstance(base, Distribution) and base.batch_shape:
            raise ValueError(
                f"base has batch shape {tuple(base.batch_shape)}, expected the distribution of one item; "
                "wrap it in torch.distributions.Independent"
            )
        self.base, self.bijection = base, bijection

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        """`log_prob`, so that DDP, torch.compile and torch.func wrap the likelihood pass unaided."""
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Log-density of each item, nats.

        Args:
            x: `(B, *event)`; without context any number of leading dimensions, or none.
            context: Features `(B, ...)`, or one item's `(1, ...)` for all; for x of `(n, B, *event)`, too.

        Returns:
            `(B,)`, or the leading dimensions of x.

        Raises:
            ValueError: The context's batch is not x's, or it has a mask; x is not of the weights' precision, or its
                latent not what the base scores.
        """
        self._require_precision(x)
        base = self._base(context)
        lead = x.shape[: x.dim() - len(base.event_shape)]
        features = spread(context, lead)
        if features is not context:
            base = self._base(features)
        z, log_det = self.bijection(x.reshape(lead.numel(), *x.shape[len(lead) :]), features)
        if z.shape[1:] != base.event_shape:
            raise ValueError(
                f"the bijection's latent has items of shape {tuple(z.shape[1:])}, "
                f"but the base is over {tuple(base.event_shape)}; give it the latent's shape"
            )
        return (self._score(base, z) + log_det).view(lead)

    @torch.no_grad()
    def sample(self, shape: int | Sequence[int] = 1, context: Tensor | Context | None = None) -> Tensor:
        """Draw items, `(*shape, *event)`, without gradients; arguments as in `rsample`."""
        lead, context = self._lead(shape, context)
        z = self._latent(self._base(context), lead)
        return unflatten(self.bijection.inverse(z, context), lead)

    def rsample(self, shape: int | Sequence[int] = 1, context: Tensor | Context | None = None) -> Tensor:
        """Draw items, with gradients to the parameters.

        Args:
            shape: How many, or the leading dimensions.
            context: Features, one item for each item drawn, or one for all; `sample((n, B), context)` draws n of each
                of B.

        Raises:
            ValueError: The context's batch is not the number of items, or it has a mask; the base draws no gradients.
            InverseNotAvailable: The bijection has no inverse.
        """
        lead, context = self._lead(shape, context)
        return unflatten(self.bijection.inverse(self._latent(self._base(context), lead), context), lead)

    def rsample_and_log_prob(
        self, shape: int | Sequence[int] = 1, context: Tensor | Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw items and score them in one pass, cheap where only the inverse is; arguments as in `rsample`.

        Returns:
            Items `(*shape, *event)` and their log-densities `shape`, nats.
        """
        lead, context = self._lead(shape, context)
        base = self._base(context)
        z = self._latent(base, lead)
        x, log_det = self.bijection.inverse_and_log_det(z, context)
        return unflatten(x, lead), (self._score(base, z) - log_det).view(lead)

    def _base(self, context: Tensor | Context | None) -> Distribution:
        return self.base if isinstance(self.base, Distribution) else self.base(context)

    @staticmethod
    def _lead(shape: int | Sequence[int], context: Tensor | Context | None) -> tuple[torch.Size, Tensor | None]:
        lead = torch.Size([shape] if isinstance(shape, int) else shape)
        return lead, spread(context, lead)

    @staticmethod
    def _score(base: Distribution, z: Tensor) -> Tensor:
        # Torch's Independent cannot score an empty batch.
        return base.log_prob(z) if len(z) else z.new_zeros(0)

    @staticmethod
    def _latent(base: Distribution, lead: torch.Size) -> Tensor:
        # A base that the context told has the batch already.
        shape = torch.Size() if base.batch_shape else torch.Size([lead.numel()])
        if not torch.is_grad_enabled():
            return base.sample(shape)
        if not base.has_rsample:
            raise ValueError(
                f"base is {named(base)}, which torch draws from without gradients; "
                "call flow.sample, or score what it drew with flow.log_prob"
            )
        return base.rsample(shape)

    def _require_precision(self, x: Tensor) -> None:
        """Refuse whole numbers, and data in float64 for weights that are not, which layers would meet in torch's words.

        Raises:
            ValueError: x is that.
        """
        weights = next((p.dtype for p in self.parameters() if p.is_floating_point()), x.dtype)
        if not x.is_floating_point() or (x.dtype == torch.float64 != weights):
            raise ValueError(f"data is {x.dtype}, the flow's weights are {weights}; convert one: x.to({weights})")


def named(given: object) -> str:
    """What kind of object it is, for an error."""
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
