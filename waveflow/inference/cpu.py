"""The inverse of WaveGlow and LapGlow on a CPU: large matrix products, and one pass between each two."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
from torch import Tensor

from waveflow.inference import cpu_kernels as kernels
from waveflow.inference.cpu_packing import CpuPacking, PackedStep
from waveflow.inference.cpu_plan import Plan
from waveflow.inference.folding import fold
from waveflow.models import MelContext, MelFlow

DTYPES = (torch.float32, torch.bfloat16)
# Log-mels of speech lie about this in nepers; off it, a little precision is lost.
CENTRE = -4.0
# Fewer rows than this are not worth another thread.
ROWS_PER_WORKER = 96
# Frames, too: of fewer than four rows libraries multiply by vectors, whose sums run in another order.
FRAMES_PER_WORKER = 4


class CpuInverse:
    """A model's inverse, folded and packed.

    Threads take items of a batch whole, so that padding costs nothing, nobody waits, and each item is bit for bit what
    it is alone. Threads that are more than the items share the time of one, and wait for each other between layers.

    The flow's own values, the hidden state and all sums are float32; what may be bfloat16 is the operands of the large
    products and what they give.

    Args:
        model: A `WaveGlow` or `LapGlow`, float32; later changes of its weights do not reach the result.
        dtype: Of the products, float32 or bfloat16.
        n_threads: PyTorch's number unless given.

    Raises:
        ValueError: Another model, kernel size or dtype.
    """

    def __init__(self, model: MelFlow, dtype: torch.dtype = torch.float32, n_threads: int | None = None) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype}, the CPU's inverse takes one of {DTYPES}")
        folded = fold(model)
        sizes = {len(layer.taps) for step in folded.steps for layer in step.layers}
        if sizes != {3}:
            raise ValueError(f"kernel_size is {max(sizes)}, the CPU's inverse takes 3; use the backend 'reference'")
        self.n_threads = n_threads or torch.get_num_threads()
        self._folded, self._squeeze = folded, model.flow.steps[0]
        self._n_group, self._hop_length = model.n_group, model.mel_config.hop_length
        self._packing = CpuPacking(folded, CENTRE, dtype)
        self._steps = [self._packing.step(step) for step in folded.steps]
        self._reach = max(layer.dilation for step in folded.steps for layer in step.layers)
        self._plans: list[tuple[tuple[int, int], Plan] | None] = [None] * self.n_threads
        self._busy = threading.Lock()

    @torch.no_grad()
    def __call__(self, latent: Tensor, context: MelContext) -> Tensor:
        """Map a latent to audio, float32 `(B, T)`, as `MelFlow.inverse`."""
        lengths = [latent.shape[1]] * len(latent) if context.lengths is None else context.lengths.tolist()
        mels, audio = context.mel.expand(len(latent), -1, -1), torch.zeros_like(latent)
        # The longest first, so that those who compute end together.
        waiting = deque(sorted((b for b, n in enumerate(lengths) if n), key=lambda b: -lengths[b]))
        at_once = max(1, min(self.n_threads, len(waiting)))

        def compute(place: int) -> None:
            with suppress(IndexError):
                while True:
                    b = waiting.popleft()
                    item = latent[b, : lengths[b]], mels[b, :, : -(-lengths[b] // self._hop_length)]
                    audio[b, : lengths[b]] = self._item(place, *item, (self.n_threads + place) // at_once)

        n_threads = torch.get_num_threads()
        with self._busy:
            try:
                if at_once == 1:
                    compute(0)
                else:
                    # Made anew for each call: threads that wait would not survive a fork.
                    with ThreadPoolExecutor(at_once, "waveflow-item") as pool:
                        for done in [pool.submit(compute, place) for place in range(at_once)]:
                            done.result()
            finally:
                # A thread that takes one for itself takes it for the threads still to be made, too.
                torch.set_num_threads(n_threads)
        return audio

    def _item(self, place: int, latent: Tensor, mel: Tensor, n_threads: int) -> Tensor:
        """Audio `(T,)` of one item, `(T,)` and `(n_mels, F)`, by so many threads at most."""
        n_frames, n_vectors = mel.shape[1], len(latent) // self._n_group
        plan = self._planned(place, n_frames, n_threads)
        self._put(plan, latent.view(n_vectors, -1))
        frames = self._folded.frames(mel[None])[0]
        # The sums of an encoder's products would depend on the number of threads.
        torch.set_num_threads(1)
        features = self._folded.told(frames[None])[0]
        torch.set_num_threads(len(plan.rows))
        try:
            self._run(plan, self._packing.spoken(frames, features))
        except BaseException:
            # Its barrier is broken.
            self._plans[place] = None
            raise
        vectors = self._unscaled(plan.latents[-1].tensor, features)
        return self._squeeze.inverse(vectors[None, :n_vectors].mT)[0]

    def _planned(self, place: int, n_frames: int, n_threads: int) -> Plan:
        enough = n_frames * self._packing.n_positions // ROWS_PER_WORKER, n_frames // FRAMES_PER_WORKER
        n_workers = max(1, min(n_threads, *enough))
        kept = self._plans[place]
        if kept is None or kept[0] != (n_frames, n_workers):
            self._plans[place] = None
            kept = (n_frames, n_workers), Plan(self._packing, self._steps, self._reach, n_frames, n_workers)
            self._plans[place] = kept
        return kept[1]

    def _put(self, plan: Plan, latent: Tensor) -> None:
        """Put the latent's channels, `(T // n_group, n_group)`, where the steps will look for them."""
        n = len(latent)
        plan.gaps = [(n, plan.n_rows)]
        plan.inside[:n], plan.inside[n:] = 1, 0
        widths = [len(self._steps[0].mix), *(step.early for step in self._steps)]
        for x, part in zip(plan.latents, latent.split(widths[::-1], dim=1)[::-1]):
            x.tensor[:n, : part.shape[1]], x.tensor[n:] = part, 0

    def _run(self, plan: Plan, spoken: Tensor) -> None:
        n_workers = len(plan.rows)
        if n_workers == 1:
            return self._work(plan, spoken, 0)
        with ThreadPoolExecutor(n_workers, "waveflow") as pool:
            done = [pool.submit(self._work, plan, spoken, worker) for worker in range(n_workers)]
        torch.set_num_threads(n_workers)
        errors = [future.exception() for future in done if future.exception()]
        if errors:
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
            if self._packing.told_at_points:
                torch.bmm(spoken[part], layer.told[part[0]], out=told.tensor[part])
            else:
                torch.mm(spoken[part], layer.told, out=told.tensor.view(len(spoken), -1)[part])

    def _layer(self, plan: Plan, i: int, step: PackedStep, j: int, worker: int) -> None:
        layer, told, y = step.layers[j], plan.told[j % len(plan.told)].array, plan.outputs[i].array
        source, target = plan.hidden[j % 2].array, plan.hidden[1 - j % 2].array
        seen = plan.seen.array if step.narrow and j == 0 else source
        d = layer.dilation
        gate = kernels.gate_told_at_points if self._packing.told_at_points else kernels.gate
        for tiles in plan.tiles(layer, worker):
            kernels.values_at_points(seen, tiles.values.array, tiles.first, d, self._reach)
            torch.bmm(tiles.values.tensor, layer.taps, out=tiles.products.tensor)
            gate(tiles.products.array, told, layer.bias, tiles.gated.array, tiles.first, d)
            torch.mm(tiles.gated.tensor.flatten(0, 1), layer.after, out=tiles.mixed.tensor.flatten(0, 1))
            kernels.add_after(
                source, tiles.mixed.array, layer.mix_bias, plan.inside, target, y, tiles.first, d, self._reach
            )

    def _finish(self, plan: Plan, i: int, step: PackedStep, worker: int) -> None:
        """Undo the coupling and mix the channels."""
        first, last = plan.rows[worker]
        x = plan.latents[i]
        kernels.uncouple(x.array[first:last], plan.outputs[i].array[first:last], step.changes, step.bound)
        torch.mm(x.tensor[first:last], step.mix, out=plan.latents[i + 1].tensor[first:last, step.early :])

    def _unscaled(self, vectors: Tensor, features: Tensor) -> Tensor:
        if self._folded.gain is None:
            return vectors
        weight, bias = self._folded.gain
        return vectors * torch.exp(-torch.addmm(bias, features, weight.T))
