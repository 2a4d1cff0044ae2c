"""What the processor can do, and PyTorch's threads on it, kept from those of an inverse that has its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch


def bfloat16_products() -> bool:
    """Whether this processor multiplies bfloat16 numbers: without, they are slower than float32."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return bool(features.get("avx512bf16") or features.get("amx-bf16"))


class _Threads:
    """How many threads PyTorch had before anybody inside `one_thread` asked for one."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def enter(self) -> None:
        with self._lock:
            # Each calling thread has a count of its own, which it takes over from the others when it first asks.
            n_threads = torch.get_num_threads()
            if not self._inside:
                self._before = n_threads
            self._inside += 1
            torch.set_num_threads(1)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            torch.set_num_threads(self._before)


_THREADS = _Threads()


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Let PyTorch use the calling thread alone, where that is wanted; callers may overlap.

    After each operation that PyTorch shares out, OpenMP's threads go on looking for more for some milliseconds, on the
    processors that the inverse's own threads need: two threads are then hardly faster than one.
    """
    if not wanted:
        yield
        return
    _THREADS.enter()
    try:
        yield
    finally:
        _THREADS.leave()
