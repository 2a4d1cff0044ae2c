"""Training: one loop, on one process or as many as torchrun starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waveflow.training.config import TrainConfig
from waveflow.training.errors import TrainingError

if TYPE_CHECKING:
    from waveflow.training.loop import Outcome, train

__all__ = ["Outcome", "TrainConfig", "TrainingError", "train"]


def __getattr__(name: str) -> Any:
    # The loop brings reports and readers, which what only computes gradients can do without.
    if name in ("Outcome", "train"):
        from waveflow.training import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
