"""What autograd holds on to."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn


def peak_activation_bytes(model: nn.Module, step: Callable[[], object]) -> int:
    """The most bytes, weights apart, that autograd held at any time of a forward and backward pass.

    Args:
        model: Whose weights do not count.
        step: Runs the passes.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, list[int]] = {}
    alive = peak = 0

    class Packed:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def release(pointer: int) -> None:
        nonlocal alive
        held[pointer][0] -= 1
        if not held[pointer][0]:
            alive -= held.pop(pointer)[1]

    def pack(tensor: Tensor) -> Packed:
        nonlocal alive, peak
        packed, storage = Packed(tensor), tensor.untyped_storage()
        pointer = storage.data_ptr()
        if pointer not in weights:
            if pointer not in held:
                held[pointer] = [0, storage.nbytes()]
                alive += storage.nbytes()
            held[pointer][0] += 1
            weakref.finalize(packed, release, pointer)
            peak = max(peak, alive)
        return packed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.tensor):
        step()
    return peak
