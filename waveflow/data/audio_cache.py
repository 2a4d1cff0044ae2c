"""Decoded audio, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from torch import Tensor


class AudioCache:
    """Audio by key, the last used of it.

    Args:
        most: Bytes, at most.
    """

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()

    def get(self, key: Hashable) -> Tensor | None:
        """What is kept under a key, if it still is."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: Hashable, audio: Tensor) -> Tensor:
        """Keep audio that was not kept, in place of what was used longest ago; the same audio."""
        self._kept[key] = audio
        self.bytes += audio.nbytes
        while self.bytes > self.most:
            self.bytes -= self._kept.popitem(last=False)[1].nbytes
        return audio
