"""A context that is worked out once for a bijection that asks for it many times."""

from __future__ import annotations

from torch import Tensor, nn

from waveflow.bijections.base import Bijection
from waveflow.nn.context import Context, as_context


class ProjectedContext(Bijection):
    """Tell a bijection what a network makes of the context's features, with the mask as it is.

    A solver evaluates its velocity many times under one context; what depends on the context alone belongs here.

    Args:
        bijection: What is told.
        projection: Maps the features.
    """

    def __init__(self, bijection: Bijection, projection: nn.Module) -> None:
        super().__init__()
        self.bijection, self.projection = bijection, projection

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.bijection(x, self.told(context))

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self.bijection.inverse(z, self.told(context))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse_and_log_det(z, self.told(context))

    def told(self, context: Tensor | Context | None) -> Context:
        """The context that the bijection sees."""
        features, mask = as_context(context)
        return Context(self.projection(features), mask)
