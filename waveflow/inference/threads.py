"""PyTorch's threads, kept from those of an inverse that has its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Let PyTorch use the calling thread alone, where that is wanted.

    After each operation that PyTorch shares out, OpenMP's threads go on looking for more for some milliseconds, on the
    processors that the inverse's own threads need: two threads are then hardly faster than one.
    """
    n_threads = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if wanted:
            torch.set_num_threads(n_threads)
