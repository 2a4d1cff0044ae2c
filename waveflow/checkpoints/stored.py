"""Inert values: what a foreign file holds, as names and numbers that can do nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(eq=False)
class Global:
    """A name that the file gives to something in Python, never resolved."""

    name: str


@dataclass(eq=False)
class Record:
    """An instance of a class: the class's name and the attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


class Stateful:
    """A value that a pickle makes empty and then fills."""

    def set_state(self, state: Any) -> None:
        """Take the state that the pickle gives.

        Raises:
            TypeError: It is no state of such a value.
        """
        raise TypeError(f"{type(self).__name__} does not define set_state(state)")


@dataclass(eq=False)
class Storage:
    """Numbers in a file, read when they are asked for; the device they were saved on is not remembered."""

    key: str
    dtype: torch.dtype
    numel: int
    read: Callable[[Storage], torch.Tensor]
    _values: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """All numbers, shape `(numel,)`, on the CPU."""
        if self._values is None:
            self._values = self.read(self)
        return self._values


@dataclass(eq=False)
class StoredTensor:
    """A tensor in a file: a strided view into a storage.

    Raises:
        ValueError: It reaches outside its storage, or repeats its values.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = [self.offset, *self.shape, *self.stride]
        if len(self.shape) != len(self.stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor has shape {self.shape}, stride {self.stride}, offset {self.offset}")
        count, last = 1, self.offset
        for size, stride in zip(self.shape, self.stride):
            count, last = count * size, last + max(size - 1, 0) * stride
        if count and (last >= self.storage.numel or count > self.storage.numel):
            raise ValueError(f"a tensor of shape {self.shape} reaches outside its {self.storage.numel} values")

    def tensor(self) -> torch.Tensor:
        """The tensor itself, on the CPU; tensors of one storage share memory."""
        return self.storage.values().as_strided(self.shape, self.stride, self.offset)
