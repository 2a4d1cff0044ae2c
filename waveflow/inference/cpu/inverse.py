"""The inverse of WaveGlow and LapGlow on a CPU by oneDNN's matrix products, with one pass between each two."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from waveflow.inference.cpu import kernels
from waveflow.inference.cpu.items import ItemwiseInverse
from waveflow.inference.cpu.packing import CpuPacking, CpuStep
from waveflow.inference.cpu.plan import Plan
from waveflow.models import MelFlow
from waveflow.ops.processor import one_thread

# Fewer rows than this are not worth another thread.
ROWS_PER_WORKER = 96
# Frames, too: of fewer than four rows libraries multiply by vectors, whose sums run in another order.
FRAMES_PER_WORKER = 4


class CpuInverse(ItemwiseInverse):
    """A model's inverse, folded and packed, for processors whose matrix unit only a library drives (AMX).

    The flow's own values, the hidden state and all sums are float32; what may be bfloat16 is the operands of the large
    products and what they give. Arguments and errors are those of `ItemwiseInverse`.
    """

    def __init__(self, model: MelFlow, dtype: torch.dtype = torch.float32, n_threads: int | None = None) -> None:
        super().__init__(model, dtype, n_threads)
        self._packing = CpuPacking(self._folded, self._centre, dtype)
        self._steps = [self._packing.step(step) for step in self._folded.steps]

    def _n_workers(self, n_frames: int, n_threads: int) -> int:
        enough = n_frames * self._packing.n_positions // ROWS_PER_WORKER, n_frames // FRAMES_PER_WORKER
        return max(1, min(n_threads, *enough))

    def _plan(self, n_frames: int, n_workers: int) -> Plan:
        return Plan(self._packing, self._steps, self._reach, n_frames, n_workers)

    def _audio(self, plan: Plan, latent: Tensor, features: Tensor) -> Tensor:
        n = len(latent)
        plan.gaps = [(n, plan.n_rows)]
        self._put((x.tensor for x in plan.latents), plan.inside, latent)
        torch.set_num_threads(len(plan.rows))
        self._run(plan, self._packing.spoken(features))
        vectors = self._unscaled(plan.latents[-1].tensor, features)
        return self._squeeze.inverse(vectors[None, :n].mT)[0]

    def _run(self, plan: Plan, spoken: Tensor) -> None:
        n_workers = len(plan.rows)
        if n_workers == 1:
            return self._work(plan, spoken, 0)
        with ThreadPoolExecutor(n_workers, "waveflow") as pool:
            done = [pool.submit(self._work, plan, spoken, worker) for worker in range(n_workers)]
        torch.set_num_threads(n_workers)
        errors = [error for future in done if (error := future.exception())]
        if errors:
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])

    @torch.no_grad()
    @one_thread()
    def _work(self, plan: Plan, spoken: Tensor, worker: int) -> None:
        try:
            for i, step in enumerate(self._steps):
                self._start(plan, i, step, worker)
                for j in range(len(step.layers)):
                    if j % len(plan.told) == 0:
                        self._tell(plan, step, j, spoken, worker)
                        plan.barrier.wait()
                    self._layer(plan, i, step, j, worker)
                    plan.barrier.wait()
                self._finish(plan, i, step, worker)
        except BaseException:
            plan.barrier.abort()
            raise

    def _start(self, plan: Plan, i: int, step: CpuStep, worker: int) -> None:
        """The first hidden state, and an output that is nothing but its bias."""
        first, last = plan.rows[worker]
        half = len(step.start)
        passing = plan.latents[i].tensor[first:last, step.passes : step.passes + half]
        hidden = plan.hidden[0].tensor[self._reach :]
        torch.addmm(step.start_bias, passing, step.start, out=hidden[first:last])
        seen = plan.seen.tensor[self._reach :]
        if step.narrow:
            seen[first:last, 0], seen[first:last, 1 : 1 + half], seen[first:last, 1 + half :] = 1, passing, 0
        for start, stop in plan.gaps:
            outside = slice(max(first, start), max(first, min(last, stop)))
            hidden[outside], seen[outside] = 0, 0
        plan.outputs[i].tensor[first:last] = step.end_bias

    def _tell(self, plan: Plan, step: CpuStep, j: int, spoken: Tensor, worker: int) -> None:
        """Conditioning of layer j and of those after it for which there is room."""
        part = plan.told_parts[worker]
        for told, layer in zip(plan.told, step.layers[j:]):
            torch.mm(spoken[part], layer.told, out=told.tensor.view(len(spoken), -1)[part])

    def _layer(self, plan: Plan, i: int, step: CpuStep, j: int, worker: int) -> None:
        layer, told, y = step.layers[j], plan.told[j % len(plan.told)].array, plan.outputs[i].array
        source, target = plan.hidden[j % 2].array, plan.hidden[1 - j % 2].array
        seen = plan.seen.array if step.narrow and j == 0 else source
        d = layer.dilation
        for tiles in plan.tiles(layer, worker):
            kernels.values_at_points(seen, tiles.values.array, tiles.first, d, self._reach)
            torch.bmm(tiles.values.tensor, layer.taps, out=tiles.products.tensor)
            kernels.gate(tiles.products.array, told, layer.bias, tiles.gated.array, tiles.first, d)
            torch.mm(tiles.gated.tensor.flatten(0, 1), layer.after, out=tiles.mixed.tensor.flatten(0, 1))
            kernels.add_after(
                source, tiles.mixed.array, layer.mix_bias, plan.inside, target, y, tiles.first, d, self._reach
            )

    def _finish(self, plan: Plan, i: int, step: CpuStep, worker: int) -> None:
        """Undo the coupling and mix the channels."""
        first, last = plan.rows[worker]
        x = plan.latents[i]
        kernels.uncouple(
            x.array[first:last], plan.outputs[i].array[first:last], step.changes, len(step.start), step.bound
        )
        torch.mm(x.tensor[first:last], step.mix, out=plan.latents[i + 1].tensor[first:last, step.early :])

    def _unscaled(self, vectors: Tensor, features: Tensor) -> Tensor:
        if self._folded.gain is None:
            return vectors
        weight, bias = self._folded.gain
        return vectors * torch.exp(-torch.addmm(bias, features, weight.T))
