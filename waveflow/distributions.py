"""Densities made of a simple one and a bijection, and the bridge to torch.distributions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, OneHotCategorical, Transform, constraints

from waveflow.bijections.base import Bijection, widened
from waveflow.nn.context import Context, as_context
from waveflow.settings import require_counts


class StandardNormal(nn.Module):
    """The standard normal over items of a given shape, on the module's device and in its precision.

    Called with the context, which it does not heed, it gives the distribution.
    """

    loc: Tensor

    def __init__(self, *event_shape: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(event_shape), persistent=False)

    def forward(self, context: Tensor | Context | None = None) -> Distribution:
        normal = Normal(self.loc, torch.ones_like(self.loc), validate_args=False)
        return Independent(normal, self.loc.dim(), validate_args=False)


class IndependentSymbols(nn.Module):
    """Learned probabilities of symbols that do not depend on one another, as one-hot vectors `(B, D, K)`.

    The base of discrete flows: its log-density is linear in the symbols, so that gradients reach the flow.
    """

    def __init__(self, n_features: int, n_symbols: int) -> None:
        super().__init__()
        require_counts(n_features=n_features, n_symbols=n_symbols)
        self.logits = nn.Parameter(torch.zeros(n_features, n_symbols))

    def forward(self, context: Tensor | Context | None = None) -> Distribution:
        return Independent(_Symbols(logits=self.logits, validate_args=False), 1)


class _Symbols(OneHotCategorical):
    def log_prob(self, value: Tensor) -> Tensor:
        return (value * self.logits).sum(-1)


class Flow(nn.Module):
    """The density of data that a bijection maps to a simple latent.

        log p(x) = log base(f(x)) + log |det df/dx|

    Args:
        base: A `torch.distributions.Distribution` over one item's latent, without batch shape; or a module that gives
            one when called with the context, as `StandardNormal` does, which then moves with the flow and may learn.
        bijection: f, from data to latent.

    Raises:
        ValueError: `base` is a distribution with a batch shape.
    """

    def __init__(self, base: Distribution | nn.Module, bijection: Bijection) -> None:
        super().__init__()
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
            ValueError: The context's batch is not x's, or it has a mask.
        """
        base = self._base(context)
        lead = x.shape[: x.dim() - len(base.event_shape)]
        features = spread(context, lead)
        if features is not context:
            base = self._base(features)
        z, log_det = self.bijection(x.reshape(lead.numel(), *x.shape[len(lead) :]), features)
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
            ValueError: The context's batch is not the number of items, or it has a mask.
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
        return base.rsample(shape) if torch.is_grad_enabled() else base.sample(shape)


class BijectionTransform(Transform):
    """A bijection as a torch transform from latent to data, which is what `TransformedDistribution` applies.

    Args:
        bijection: From data to latent.
        context: Told with every call.
        event_dim: Dimensions of one item, of latent as of data; a ValueError says where they differ.
        cache_size: 1 to remember the last pair and its determinant, so that scoring what was just drawn, or asking for
            the determinant of what was just mapped, computes nothing anew.
    """

    bijective = True

    def __init__(
        self,
        bijection: Bijection,
        context: Tensor | Context | None = None,
        event_dim: int = 1,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.bijection, self.context, self.n_event_dims = bijection, context, event_dim
        self.domain = self.codomain = constraints.independent(constraints.real, event_dim)
        self._scored: tuple[Tensor, Tensor] | None = None

    def with_cache(self, cache_size: int = 1) -> Transform:
        return BijectionTransform(self.bijection, self.context, self.n_event_dims, cache_size)

    def _call(self, x: Tensor) -> Tensor:
        items, lead = self._items(x)
        return self._unflatten(items, self.bijection.inverse(items, spread(self.context, lead)), lead)

    def _inverse(self, y: Tensor) -> Tensor:
        latent, log_det = self._score(y)
        if self._cache_size:
            # The determinant comes with this pass, and torch asks for it next.
            self._scored = (y, log_det)
        return latent

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        _, log_det = self._scored if self._scored and self._scored[0] is y else self._score(y)
        return -log_det

    def _score(self, y: Tensor) -> tuple[Tensor, Tensor]:
        items, lead = self._items(y)
        latent, log_det = self.bijection(items, spread(self.context, lead))
        return self._unflatten(items, latent, lead), log_det.view(lead)

    def _unflatten(self, items: Tensor, mapped: Tensor, lead: torch.Size) -> Tensor:
        if mapped.dim() != items.dim():
            raise ValueError(
                f"items of shape {tuple(items.shape[1:])} became {tuple(mapped.shape[1:])}, but a transform of torch "
                "has one event_dim for both; use waveflow.Flow(base, bijection)"
            )
        return unflatten(mapped, lead)

    def _items(self, x: Tensor) -> tuple[Tensor, torch.Size]:
        lead = x.shape[: x.dim() - self.n_event_dims]
        return x.reshape(lead.numel(), *x.shape[len(lead) :]), lead


class TransformBijection(Bijection):
    """A transform of torch.distributions, or of zuko, as a bijection.

    Torch's transforms go from latent to data, so that forward is the transform's inverse. Zuko's flows hold transforms
    from data to latent: give the `.inv` of those.

    Args:
        transform: A `Transform`; or a module that gives one when called with the context's features, such as zuko's
            lazy transforms, whose parameters then learn.
    """

    def __init__(self, transform: Transform | nn.Module) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, *event)` to latent.

        Raises:
            ValueError: The transform is not bijective.
        """
        # Asked of the inverse itself, which zuko computes in one pass where it is the fast direction.
        to_latent = self._transform(context).inv
        z = to_latent(x)
        return z, per_item(to_latent.log_abs_det_jacobian(x, z))

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._transform(context)(z)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        transform = self._transform(context)
        x = transform(z)
        return x, per_item(transform.log_abs_det_jacobian(z, x))

    def _transform(self, context: Tensor | Context | None) -> Transform:
        given = self.transform
        transform = given if isinstance(given, Transform) else given(as_context(context).features)
        if not transform.bijective:
            raise ValueError(f"{transform} is not bijective, so that it has no density; choose one that is")
        return transform


def as_transform(
    bijection: Bijection, context: Tensor | Context | None = None, event_dim: int = 1, cache_size: int = 0
) -> Transform:
    """A bijection as a transform from latent to data, for `torch.distributions.TransformedDistribution`."""
    return BijectionTransform(bijection, context, event_dim, cache_size)


def from_transform(transform: Transform | nn.Module) -> Bijection:
    """A transform from latent to data, of torch or zuko, as a bijection from data to latent."""
    return TransformBijection(transform)


def per_item(log_det: Tensor) -> Tensor:
    """Add up a log-determinant over all but the batch, in float32 or better."""
    wide = widened(log_det)
    return wide.flatten(1).sum(1) if wide.dim() > 1 else wide


def unflatten(items: Tensor, lead: torch.Size) -> Tensor:
    """Give items `(B, *event)` their leading dimensions back."""
    return items.view(*lead, *items.shape[1:])


def spread(context: Tensor | Context | None, lead: torch.Size) -> Tensor | None:
    """The context of each of the items that the leading dimensions count.

    Args:
        context: Features, one for each item, for each of the last leading dimension, or one for all; None gives None.
        lead: Leading dimensions of the data.

    Raises:
        ValueError: The context is of another number of items, or has a mask.
    """
    features, mask = as_context(context)
    if mask is not None:
        raise ValueError(
            "context has a mask, but a base distribution would score the padding as data; "
            "call the bijection itself and score its latent by waveflow.losses.log_likelihood with lengths"
        )
    n = lead.numel()
    if features is None or len(features) == n:
        return features
    if len(features) not in (1, *lead[-1:]):
        raise ValueError(
            f"context of shape {tuple(features.shape)} is of {len(features)} items, but there are {n} items of data; "
            f"give one for each, or (1, ...) for all, or draw and score (n, {len(features)}) items for n of each"
        )
    return features.expand(*lead, *features.shape[1:]).reshape(n, *features.shape[1:])
