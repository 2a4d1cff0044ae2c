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


_taking = threading.Lock()


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Let PyTorch use the calling thread alone, where that is wanted; callers may overlap.

    After each operation that PyTorch shares out, OpenMP's threads go on looking for more for some milliseconds, on the
    processors that the inverse's own threads need: two threads are then hardly faster than one.
    """
    if not wanted:
        yield
        return
    with _taking:
        n_threads = torch.get_num_threads()
        if n_threads > 1:
            torch.set_num_threads(1)
            # Nobody starts a thread meanwhile where the caller is the only one.
            if threading.active_count() > 1:
                _tell_new_threads(n_threads)
    try:
        yield
    finally:
        with _taking:
            if torch.get_num_threads() != n_threads:
                torch.set_num_threads(n_threads)


def _tell_new_threads(n_threads: int) -> None:
    """Let threads that have not asked PyTorch for their number yet take so many.

    A number is the calling thread's own, but also that of all who ask for the first time later, and they keep it. Who
    asks in the moment before this has run is still left with one.
    """
    messenger = threading.Thread(target=torch.set_num_threads, args=(n_threads,), name="waveflow-threads")
    messenger.start()
    messenger.join()
