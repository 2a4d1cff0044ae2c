"""What to say of a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# With the meant one in hand, nobody reads a longer list.
_MANY = 30


def unknown_name(what: str, name: str, valid: Iterable[str], *, likely: Sequence[str] = ()) -> str:
    """The message for a name that does not exist: the nearest valid one, then all of them.

    Args:
        what: What it should be a name of.
        name: As it was given.
        valid: The names that exist; of very many, all are told only where none is near.
        likely: Those that are meant sooner than the nearest, the likeliest first.
    """
    valid = sorted(valid)
    near = [*likely] or difflib.get_close_matches(name, valid, n=1)
    if not near:
        return f"unknown {what} {name!r}; valid: {', '.join(valid)}"
    told = "" if len(valid) > _MANY else f" Valid: {', '.join(valid)}"
    return f"unknown {what} {name!r}; did you mean {near[0]!r}?{told}"
