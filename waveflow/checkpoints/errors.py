"""What a file that is not what it should be raises."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written; the message says what was expected and what to do."""


def damaged(name: str, why: object) -> CheckpointError:
    """The error for a file that breaks its own format."""
    return CheckpointError(f"{name} is truncated or damaged: {why}; copy or download it again")
