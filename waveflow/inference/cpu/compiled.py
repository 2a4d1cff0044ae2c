"""The inverse of WaveGlow and LapGlow on a CPU, compiled into one function that several threads run."""

from __future__ import annotations

import threading

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.inference.cpu import region
from waveflow.inference.cpu.arrays import FLOW, Arrays
from waveflow.inference.cpu.items import ItemwiseInverse
from waveflow.inference.cpu.kernels import as_array
from waveflow.inference.cpu.layout import CpuLayout
from waveflow.inference.cpu.products import PANEL, ROWS
from waveflow.models import MelFlow

# Bytes of a worker's inputs at the points: with what is made of them they stay in its cache.
VALUES_BYTES = 256 << 10
# Fewer rows than this are not worth another thread.
ROWS_PER_WORKER = 48
# More than all arrivals: every barrier opens.
OPEN = 1 << 40


class CompiledInverse(ItemwiseInverse):
    """A model's inverse by matrix products of our own, which know what comes before and after them.

    The flow's own values, hidden state and sums are float32, as is the conditioning where a position is a frame; what
    may be bfloat16 is the operands of the products. A row's sums run in one order, wherever in a tile it lies, so that
    threads do not change a bit. Arguments and errors are those of `ItemwiseInverse`.
    """

    def __init__(self, model: MelFlow, dtype: torch.dtype = torch.float32, n_threads: int | None = None) -> None:
        super().__init__(model, dtype, n_threads)
        self._layout = CpuLayout(self._folded, self._squeeze, self._centre, dtype)

    def _n_workers(self, n_frames: int, n_threads: int) -> int:
        return max(1, min(n_threads, n_frames * self._layout.n_positions // ROWS_PER_WORKER))

    def _plan(self, n_frames: int, n_workers: int) -> _Plan:
        return _Plan(self._layout, self._reach, n_frames, n_workers)

    def _audio(self, plan: _Plan, latent: Tensor, features: Tensor) -> Tensor:
        self._put(plan.latents, plan.arrays.inside, latent)
        plan.run(self._layout.spoken(features), features)
        return plan.audio[: len(latent), : self._n_group].flatten()


class _Plan:
    """The buffers of one number of frames, and the threads that work on them."""

    def __init__(self, layout: CpuLayout, reach: int, n_frames: int, n_workers: int) -> None:
        c, n_rows, dtype = layout.channels, n_frames * layout.n_positions, layout.dtype
        widest = max(layout.seen, c)
        tiles = max(1, VALUES_BYTES // (6 * widest * dtype.itemsize * ROWS)) * ROWS
        sizes = (n_rows, layout.n_positions, c, layout.features, reach, layout.width, layout.y_width, tiles)
        n_told = 0 if layout.n_positions == 1 else (n_rows + layout.n_positions) * 2 * c
        # Rows that a part's tiles touch.
        touched = 4 * tiles + 8 * reach + ROWS
        n_halves = (6 * tiles + ROWS) * widest + (4 * tiles + ROWS) * c
        padded = n_rows + 6 * reach + 1
        self.n_workers = n_workers
        self.latents = torch.zeros(len(layout.steps) + 1, n_rows + ROWS, layout.width, dtype=torch.float32)
        self.arrays = Arrays(
            flow=np.array([sizes], FLOW),
            steps=layout.steps,
            layers=layout.layers,
            tail=layout.tail,
            weights=layout.weights,
            floats=layout.floats,
            spoken=np.zeros(0, layout.weights.dtype),
            features=np.zeros(0, np.float32),
            told=as_array(torch.zeros(n_told, dtype=dtype)),
            inside=np.ones(n_rows, np.uint8),
            hidden=np.zeros((2, padded, c), np.float32),
            seen=np.zeros((padded, layout.seen), np.float32),
            y=np.zeros((n_rows + ROWS, layout.y_width), np.float32),
            latents=self.latents.numpy(),
            frames=np.zeros((2, n_rows + ROWS, layout.y_width if len(layout.tail) else 0), np.float32),
            halves=as_array(torch.zeros(n_workers, n_halves, dtype=dtype)),
            singles=np.zeros((n_workers, (6 * tiles + touched) * PANEL), np.float32),
            places=np.zeros((n_workers, max(2 * (4 * tiles + ROWS) + touched, n_rows + ROWS)), np.int64),
        )

    @property
    def audio(self) -> Tensor:
        """The tail's audio, or the last latent, `(n_rows, ...)`."""
        return torch.from_numpy(self.arrays.frames[1]) if len(self.arrays.tail) else self.latents[-1]

    def run(self, spoken: Tensor, features: Tensor) -> None:
        """Invert what lies in the latents, on as many threads as there are workers."""
        padded = F.pad(features, (0, 0, 0, ROWS)).flatten().numpy()
        arrays = self.arrays._replace(spoken=as_array(spoken.flatten()), features=padded)
        barrier, errors = np.zeros(1, np.int64), []

        def work(worker: int) -> None:
            try:
                region.invert(worker, self.n_workers, barrier, arrays)
            except BaseException as error:
                errors.append(error)
                barrier[0] += OPEN

        # Made anew for each call: threads that wait would not survive a fork.
        threads = [threading.Thread(target=work, args=(i,), name="waveflow") for i in range(1, self.n_workers)]
        try:
            for thread in threads:
                thread.start()
        except BaseException:
            barrier[0] += OPEN
            raise
        else:
            work(0)
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if errors:
            raise errors[0]
