"""The inverse of WaveGlow and LapGlow on a CPU by oneDNN's matrix products, with one pass between each two."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from waveflow.inference import cpu_kernels as kernels
from waveflow.inference.cpu_items import ItemwiseInverse
from waveflow.inference.cpu_packing import CpuPacking, PackedStep
from waveflow.inference.cpu_plan import Plan
from waveflow.models import MelFlow

# Fewer rows than this are not worth another thread.
ROWS_PER_WORKER = 96


class CpuInverse(ItemwiseInverse):
    """A model's inverse, folded and packed, for processors whose matrix unit only a library drives (AMX).

    Time is shared among threads, which wait for each other between layers. The flow's own values, the hidden state and
    all sums are float32; what may be bfloat16 is the operands of the large products and what they give.

    Args:
        model: A `WaveGlow` or `LapGlow`, float32; later changes of its weights do not reach the result.
        dtype: Of the products, float32 or bfloat16.
        n_threads: PyTorch's number unless given.

    Raises:
        ValueError: Another model, kernel size or dtype.
    """

    def __init__(self, model: MelFlow, dtype: torch.dtype = torch.float32, n_threads: int | None = None) -> None:
        super().__init__(model, dtype)
        self.n_threads = n_threads or torch.get_num_threads()
        self._packing = CpuPacking(self._folded, self.CENTRE, dtype)
        self._steps = [self._packing.step(step) for step in self._folded.steps]
        self._plan: tuple[int, Plan] | None = None

    def _audio(self, latent: Tensor, features: Tensor, places: list[tuple[int, int]]) -> Tensor:
        plan = self._planned(len(features))
        self._place([x.tensor for x in plan.latents], plan.inside, latent, places)
        plan.find_gaps()
        self._run(plan, self._packing.spoken(features))
        if self._folded.gain is None:
            return plan.latents[-1].tensor
        weight, bias = self._folded.gain
        bands = plan.latents[-1].tensor * torch.exp(-torch.addmm(bias, features, weight.T))
        audio = torch.zeros_like(bands)
        for start, n in places:
            if n:
                audio[start : start + n] = self._squeeze.inverse(bands[None, start : start + n].mT).view(n, -1)
        return audio

    def _planned(self, n_frames: int) -> Plan:
        if self._plan is None or self._plan[0] != n_frames:
            self._plan = None
            n_workers = max(1, min(self.n_threads, n_frames * self._packing.n_positions // ROWS_PER_WORKER))
            self._plan = n_frames, Plan(self._packing, self._steps, self._reach, n_frames, n_workers)
        return self._plan[1]

    def _run(self, plan: Plan, spoken: Tensor) -> None:
        n_threads, n_workers = torch.get_num_threads(), len(plan.rows)
        # Made anew for each call: threads that wait would not survive a fork.
        with ThreadPoolExecutor(n_workers, "waveflow") as pool:
            done = [pool.submit(self._work, plan, spoken, worker) for worker in range(n_workers)]
        # A thread that takes one for itself takes it for the threads still to be made, too.
        torch.set_num_threads(n_threads)
        errors = [future.exception() for future in done if future.exception()]
        if errors:
            self._plan = None
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])

    @torch.no_grad()
    def _work(self, plan: Plan, spoken: Tensor, worker: int) -> None:
        torch.set_num_threads(1)
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

    def _start(self, plan: Plan, i: int, step: PackedStep, worker: int) -> None:
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

    def _tell(self, plan: Plan, step: PackedStep, j: int, spoken: Tensor, worker: int) -> None:
        """Conditioning of layer j and of those after it for which there is room."""
        part = plan.told_parts[worker]
        for told, layer in zip(plan.told, step.layers[j:]):
            torch.mm(spoken[part], layer.told, out=told.tensor.view(len(spoken), -1)[part])

    def _layer(self, plan: Plan, i: int, step: PackedStep, j: int, worker: int) -> None:
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

    def _finish(self, plan: Plan, i: int, step: PackedStep, worker: int) -> None:
        """Undo the coupling and mix the channels."""
        first, last = plan.rows[worker]
        x = plan.latents[i]
        kernels.uncouple(
            x.array[first:last], plan.outputs[i].array[first:last], step.changes, len(step.start), step.bound
        )
        torch.mm(x.tensor[first:last], step.mix, out=plan.latents[i + 1].tensor[first:last, step.early :])
