"""Items of a batch, each computed whole, for the inverses of a CPU."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from waveflow.inference.folding import fold
from waveflow.models import MelContext, MelFlow
from waveflow.ops.processor import one_thread

DTYPES = (torch.float32, torch.bfloat16)
# Log-mels of speech lie about this in nepers; off it, a little precision is lost.
LOG_MEL = -4.0


class ItemwiseInverse:
    """A model's inverse, folded.

    Threads take items of a batch whole, so that padding costs nothing, nobody waits, and each item is bit for bit what
    it is alone. Threads that are more than the items share the time of one, and wait for each other between layers.

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
        # Encoded features lie about zero as they are.
        self._centre = LOG_MEL if folded.encoder is None else 0.0
        self._n_group, self._hop_length = model.n_group, model.mel_config.hop_length
        self._reach = max(layer.dilation for step in folded.steps for layer in step.layers)
        self._widths = [len(folded.steps[0].mix), *(step.early for step in folded.steps)]
        self._plans: list[tuple[tuple[int, int], Any] | None] = [None] * self.n_threads
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
            # The sums of an encoder's products would depend on the number of threads.
            with one_thread(), suppress(IndexError):
                while True:
                    b = waiting.popleft()
                    item = latent[b, : lengths[b]], mels[b, :, : -(-lengths[b] // self._hop_length)]
                    audio[b, : lengths[b]] = self._item(place, *item, (self.n_threads + place) // at_once)

        with self._busy:
            if at_once == 1:
                compute(0)
            else:
                # Made anew for each call: threads that wait would not survive a fork.
                with ThreadPoolExecutor(at_once, "waveflow-item") as pool:
                    for done in [pool.submit(compute, place) for place in range(at_once)]:
                        done.result()
        return audio

    def _item(self, place: int, latent: Tensor, mel: Tensor, n_threads: int) -> Tensor:
        """Audio `(T,)` of one item, `(T,)` and `(n_mels, F)`, by so many threads at most."""
        n_frames, n_vectors = mel.shape[1], len(latent) // self._n_group
        n_workers = self._n_workers(n_frames, n_threads)
        kept = self._plans[place]
        # Should it fail, its buffers are not to be used again.
        self._plans[place] = None
        if kept is None or kept[0] != (n_frames, n_workers):
            # The old one goes first: two might not fit.
            kept = None
            kept = (n_frames, n_workers), self._plan(n_frames, n_workers)
        features = self._folded.features(mel[None])[0]
        audio = self._audio(kept[1], latent.view(n_vectors, -1), features)
        self._plans[place] = kept
        return audio

    def _put(self, latents: Iterable[Tensor], inside: np.ndarray, latent: Tensor) -> None:
        """Put the latent's channels, `(T // n_group, n_group)`, where the steps will look for them, and zeros after."""
        n = len(latent)
        inside[:n], inside[n:] = 1, 0
        for x, part in zip(latents, latent.split(self._widths[::-1], dim=1)[::-1]):
            x[:n, : part.shape[1]], x[n:] = part, 0

    def _n_workers(self, n_frames: int, n_threads: int) -> int:
        """How many of the threads so many frames are worth."""
        raise TypeError(f"{type(self).__name__} does not define _n_workers")

    def _plan(self, n_frames: int, n_workers: int) -> Any:
        """The buffers of so many frames."""
        raise TypeError(f"{type(self).__name__} does not define _plan")

    def _audio(self, plan: Any, latent: Tensor, features: Tensor) -> Tensor:
        """Audio `(T,)`, perhaps in the plan's own memory, of `(T // n_group, n_group)` and `(F, K)`."""
        raise TypeError(f"{type(self).__name__} does not define _audio")
