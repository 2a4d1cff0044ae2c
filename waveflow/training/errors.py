"""What ends a run before its time."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why, and from which checkpoint it can be continued."""
