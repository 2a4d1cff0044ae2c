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
