"""Leading dimensions of data, and the context of each item."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.nn.context import Context, as_context


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
