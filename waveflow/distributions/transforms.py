"""The bridge to the transforms of torch.distributions, and so to zuko's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from waveflow.bijections.base import Bijection, widened
from waveflow.distributions.items import spread, unflatten
from waveflow.nn.context import Context, as_context


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
