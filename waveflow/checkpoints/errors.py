"""What a file that is not what it should be raises."""

from __future__ import annotations

from collections.abc import Iterable


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written; the message says what was expected and what to do."""


def damaged(name: str, why: object) -> CheckpointError:
    """The error for a file that breaks its own format."""
    return CheckpointError(f"{name} is truncated or damaged: {why}; copy or download it again")


def some(keys: Iterable[str]) -> str:
    """The first few of some names, for an error."""
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
