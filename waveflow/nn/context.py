"""What a conditioner is told besides its input."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Context(NamedTuple):
    """Conditioning features, with the mask of a padded batch.

    features: `(B, C, L)` for sequences, `(B, C)` for vectors, or None.
    mask: `(B, 1, L)` of the features' dtype, 1 inside each item and 0 in its padding; None where nothing is padded.
    """

    features: Tensor | None = None
    mask: Tensor | None = None


def as_context(context: Tensor | Context | None) -> Context:
    """Give a plain tensor of features, or nothing, the form of a `Context`."""
    return context if isinstance(context, Context) else Context(context)


def required(features: Tensor | None, n_channels: int, *lengths: str) -> Tensor:
    """The context's features, `(B, n_channels)` or with lengths after that, or an error that says what is missing.

    Args:
        features: Of the context.
        n_channels: What the layer was built for.
        lengths: Names of the dimensions that follow the channels.

    Raises:
        ValueError: There are none, or they have another number of channels.
    """
    n = 1 + len(lengths)
    if features is None or features.dim() < n or features.shape[-n] != n_channels:
        given = "none" if features is None else f"features of shape {tuple(features.shape)}"
        expected = ", ".join(("B", str(n_channels), *lengths))
        raise ValueError(f"context is {given}, expected features of shape ({expected}); pass them as the context")
    return features
