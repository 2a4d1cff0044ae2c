"""What a file that is not what it should be raises."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written; the message says what was expected and what to do."""
