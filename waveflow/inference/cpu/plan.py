"""Buffers of the CPU's inverse for one length, and which thread has which rows."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from waveflow.inference.cpu.kernels import as_array
from waveflow.inference.cpu.packing import CpuLayer, CpuPacking, CpuStep, latent_width

# Tiles at a time: enough rows for a matrix product, few enough to stay in a core's cache.
TILES = 256
# Conditioning is worked out for as many layers at a time as stay within this.
TOLD_BYTES = 4 << 20


class Buffer:
    """Memory as a tensor and as the array that the kernels take, bfloat16 by its bits."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.array = as_array(tensor)


@dataclass(frozen=True)
class Tiles:
    """R consecutive tiles and where what is made of them lies; letters as in `waveflow.inference.cpu.kernels`.

    Attributes:
        first: The first tile's number.
        values: `(6, R, C)`, or as wide as what the layer sees.
        products: `(6, R, 2C)`.
        gated: `(4, R, C)`.
        mixed: `(4, R, C + N)`, or as wide as the layer's `after`.
    """

    first: int
    values: Buffer
    products: Buffer
    gated: Buffer
    mixed: Buffer


class Plan:
    """Everything that depends on the number of frames alone.

    Attributes:
        n_rows: Positions.
        rows: For each worker, its first row and the one after its last.
        gaps: Of the item at hand, the first row and the one after the last of each run that does not belong to it.
        inside: uint8 `(n_rows,)`, 0 in the gaps.
        hidden: Two hidden states, float32 `(n_rows + 6 reach, C)`; what lies outside the rows stays zero.
        seen: What a narrow first layer sees, as `hidden`: ones, x_a, zeros.
        told: Conditioning of a few layers, `(n_rows, 2C)` each.
        told_parts: For each worker, which part of `told` it makes.
        latents: For each step x as it comes in, float32 `(n_rows, N)`; the last is what the last step leaves.
        outputs: For each step y, float32 `(n_rows, N)`.
        barrier: Where the workers wait for each other.
    """

    def __init__(self, packing: CpuPacking, steps: list[CpuStep], reach: int, n_frames: int, n_workers: int) -> None:
        n_channels, n_positions = len(steps[0].start_bias), packing.n_positions
        self.n_rows = n_frames * n_positions
        self.rows = _shares(self.n_rows, n_workers)
        self.gaps: list[tuple[int, int]] = []
        self.inside = np.zeros(self.n_rows, np.uint8)
        widths = [len(step.mix) for step in steps]
        padded = self.n_rows + 6 * reach
        self.hidden = [Buffer(torch.zeros(padded, n_channels, dtype=torch.float32)) for _ in range(2)]
        self.seen = Buffer(torch.zeros(padded, latent_width(max(widths) // 2), dtype=torch.float32))
        fitting = TOLD_BYTES // (self.n_rows * 2 * n_channels * packing.dtype.itemsize)
        n_told = min(max(len(step.layers) for step in steps), max(1, fitting))
        self.told = [Buffer(torch.zeros(self.n_rows, 2 * n_channels, dtype=packing.dtype)) for _ in range(n_told)]
        self.told_parts = [slice(*share) for share in _shares(n_frames, n_workers)]
        self.outputs = [Buffer(torch.zeros(self.n_rows, width, dtype=torch.float32)) for width in widths]
        self.latents = [
            Buffer(torch.zeros(self.n_rows, width, dtype=torch.float32))
            for width in [*widths, widths[-1] + steps[-1].early]
        ]
        self.barrier = threading.Barrier(n_workers)

        widest = max(layer.after.shape[1] for step in steps for layer in step.layers)
        self._n_channels, self._n_workers = n_channels, n_workers
        self._scratch = [
            {
                name: torch.empty(n * TILES * width, dtype=packing.dtype)
                for name, n, width in self._shapes(n_channels, widest)
            }
            for _ in range(n_workers)
        ]
        self._tiles: dict[tuple[int, ...], list[Tiles]] = {}

    def tiles(self, layer: CpuLayer, worker: int) -> list[Tiles]:
        """A worker's tiles of a layer, a few at a time."""
        d, n_seen, n_after = layer.dilation, layer.taps.shape[1], layer.after.shape[1]
        key = worker, d, n_seen, n_after
        if key not in self._tiles:
            first, last = _shares(-(-self.n_rows // (4 * d)) * d, self._n_workers)[worker]
            n_parts = -(-(last - first) // TILES)
            parts = [(first + a, first + b) for a, b in _shares(last - first, n_parts)]
            self._tiles[key] = [
                Tiles(
                    a, **{name: self._view(worker, name, n, b - a, w) for name, n, w in self._shapes(n_seen, n_after)}
                )
                for a, b in parts
            ]
        return self._tiles[key]

    def _shapes(self, n_seen: int, n_after: int) -> list[tuple[str, int, int]]:
        c = self._n_channels
        return [("values", 6, n_seen), ("products", 6, 2 * c), ("gated", 4, c), ("mixed", 4, n_after)]

    def _view(self, worker: int, name: str, n: int, r: int, width: int) -> Buffer:
        return Buffer(self._scratch[worker][name][: n * r * width].view(n, r, width))


def _shares(n: int, n_parts: int) -> list[tuple[int, int]]:
    return [(n * i // n_parts, n * (i + 1) // n_parts) for i in range(n_parts)]
