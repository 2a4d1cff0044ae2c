"""Neighbouring samples as channels of one vector, and back."""

from __future__ import annotations

from torch import Tensor

from waveflow.settings import require_counts


def group_samples(features: Tensor, n_group: int) -> Tensor:
    """Stack the channels of the samples of a group, sample index fastest.

    `(B, C, T)` to `(B, C * n_group, T // n_group)`.
    """
    batch, channels, length = features.shape
    groups = features.view(batch, channels, length // n_group, n_group)
    return groups.transpose(2, 3).reshape(batch, channels * n_group, length // n_group)


def ungroup_samples(features: Tensor, n_group: int) -> Tensor:
    """Undo `group_samples`: `(B, C * n_group, L)` to `(B, C, L * n_group)`."""
    batch, channels, length = features.shape
    return features.view(batch, channels // n_group, n_group, length).transpose(2, 3).flatten(2)


def require_groups(hop_length: int, n_group: int) -> None:
    """Refuse a mel whose frames begin within groups of samples.

    Raises:
        ValueError: A hop is no whole number of groups.
    """
    require_counts(n_group=n_group)
    if hop_length % n_group:
        raise ValueError(
            f"hop_length={hop_length} is no multiple of n_group={n_group}; choose an n_group that divides it"
        )
