"""What the families ask of the data's shape."""

from __future__ import annotations

from torch import Tensor


def require_channels(x: Tensor, n_channels: int) -> None:
    """Refuse data of another number of channels than a bijection was built for.

    Raises:
        ValueError: It is that.
    """
    if x.dim() < 2 or x.shape[1] != n_channels:
        raise ValueError(
            f"data has shape {tuple(x.shape)}, expected {n_channels} channels, (B, {n_channels}, ...); "
            "build the bijection for its size"
        )


def require_shape_of(x: Tensor, mask: Tensor) -> None:
    """Refuse data whose items a mask does not fit: `(B, *shape)`, to whose shape the mask broadcasts.

    Raises:
        ValueError: It does not.
    """
    shape = x.shape[1:]
    fits = mask.dim() <= len(shape) and all(m in (1, n) for m, n in zip(reversed(mask.shape), reversed(shape)))
    if not fits:
        raise ValueError(
            f"data has shape {tuple(x.shape)}, expected items that fit the mask's {tuple(mask.shape)}; "
            "build the bijection for its size"
        )


def require_vectors(x: Tensor, n_features: int) -> None:
    """Refuse data that are not vectors of the size a bijection was built for.

    Raises:
        ValueError: They are not of shape `(B, n_features)`.
    """
    if x.dim() != 2 or x.shape[1] != n_features:
        raise ValueError(
            f"data has shape {tuple(x.shape)}, expected vectors (B, {n_features}); "
            "flatten each item, or build the bijection for its size"
        )
