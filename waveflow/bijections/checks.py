"""What the families ask of the data's shape."""

from __future__ import annotations

from torch import Tensor


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
