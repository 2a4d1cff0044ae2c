"""What a stream remembers between two pushes. Time runs down the rows: sequences are `(L, C)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Memory = dict[object, Any]
"""The rows that each part of a streamed model still needs. They are replaced, never changed: a copy is a snapshot."""


class Queue:
    """Rows that wait until others, which took a longer way, have caught up."""

    def swap(self, memory: Memory, rows: Tensor, n: int) -> Tensor:
        """Put rows in at the end and take `n` out at the front."""
        held = torch.cat([memory[self], rows]) if self in memory else rows
        memory[self] = held[n:]
        return held[:n]


class Surroundings:
    """Rows with those on both sides of them that a convolution reaches; beyond both ends there are zeros.

    Args:
        reach: Rows on each side.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __call__(self, memory: Memory, rows: Tensor, end: bool) -> Tensor:
        """The `n` next rows whose surroundings are known, `(reach + n + reach, C)`."""
        outside = rows.new_zeros(self.reach, rows.shape[1])
        seen = torch.cat([memory.get(self, outside), rows, outside[: self.reach if end else 0]])
        n = max(0, len(seen) - 2 * self.reach)
        memory[self] = seen[n:]
        return seen if len(seen) >= 2 * self.reach else rows.new_zeros(2 * self.reach, rows.shape[1])


class Window:
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
        context, n_done = memory.get(self, (rows[:0], 0))
        seen = torch.cat([context, rows])
        if not len(seen):
            return seen
        n_certain = max(n_done, len(seen) - (0 if end else self.after))
        first = max(0, n_certain - self.before)
        memory[self] = seen[first:], n_certain - first
        return self.function(seen)[n_done * self.scale : None if end else n_certain * self.scale]
