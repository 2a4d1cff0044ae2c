"""What a stream remembers between two pushes. Time runs down the rows: sequences are `(L, C)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Memory = dict[str, Any]
"""The rows that each part of a streamed model still needs, by the part's name. They are replaced, never changed: a copy
is a snapshot."""


class Part:
    """A part of a streamed model, or the whole of one.

    Attributes:
        name: Under which it finds its rows in a memory: the same in every process that has such a model.
    """

    name = ""


def name_parts(thing: Any, name: str = "") -> None:
    """Name all parts that make up a streamed model after the attributes that lead to them, as PyTorch names weights."""
    inside: Iterable[tuple[Any, Any]] = enumerate(thing) if isinstance(thing, list) else ()
    if isinstance(thing, Part):
        inside = list(vars(thing).items())
        thing.name = name
    for key, value in inside:
        name_parts(value, f"{name}.{key}".lstrip("."))


def map_rows(kept: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What is kept, in dictionaries and tuples, with every tensor changed."""
    if isinstance(kept, dict):
        return {name: map_rows(value, change) for name, value in kept.items()}
    if isinstance(kept, tuple):
        return tuple(map_rows(value, change) for value in kept)
    return change(kept) if isinstance(kept, Tensor) else kept


class Queue(Part):
    """Rows that wait until others, which took a longer way, have caught up."""

    def swap(self, memory: Memory, rows: Tensor, n: int) -> Tensor:
        """Put rows in at the end and take `n` out at the front."""
        held = torch.cat([memory[self.name], rows]) if self.name in memory else rows
        memory[self.name] = held[n:]
        return held[:n]


class Surroundings(Part):
    """Rows with those on both sides of them that a convolution reaches; beyond both ends there are zeros.

    Args:
        reach: Rows on each side.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __call__(self, memory: Memory, rows: Tensor, end: bool) -> Tensor:
        """The `n` next rows whose surroundings are known, `(reach + n + reach, C)`."""
        outside = rows.new_zeros(self.reach, rows.shape[1])
        seen = torch.cat([memory.get(self.name, outside), rows, outside[: self.reach if end else 0]])
        n = max(0, len(seen) - 2 * self.reach)
        memory[self.name] = seen[n:]
        return seen if len(seen) >= 2 * self.reach else rows.new_zeros(2 * self.reach, rows.shape[1])


class Window(Part):
    """A function of a whole sequence, applied to a stretch of it at a time.

    Args:
        function: Maps `(L, C)` to `(L * scale, C')`, each row told by a few rows before and after it.
        before: How many rows before.
        after: How many rows after.
        scale: Rows that one becomes.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], before: int, after: int, scale: int = 1) -> None:
        self.function, self.before, self.after, self.scale = function, max(1, before), after, scale

    def __call__(self, memory: Memory, rows: Tensor, end: bool) -> Tensor:
        """The function's value at the next rows that are certain."""
        context, n_done = memory.get(self.name, (rows[:0], 0))
        seen = torch.cat([context, rows])
        if not len(seen):
            return seen
        n_certain = max(n_done, len(seen) - (0 if end else self.after))
        first = max(0, n_certain - self.before)
        memory[self.name] = seen[first:], n_certain - first
        return self.function(seen)[n_done * self.scale : None if end else n_certain * self.scale]
