"""Items of a batch one after another in time, for the inverses of a CPU."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from waveflow.inference.folding import fold
from waveflow.models import MelContext, MelFlow

DTYPES = (torch.float32, torch.bfloat16)


class ItemwiseInverse:
    """A model's inverse on a batch whose items lie farther apart than any convolution reaches: padding costs nothing.

    Args:
        model: A `WaveGlow` or `LapGlow`, float32.
        dtype: Of the products, float32 or bfloat16.

    Raises:
        ValueError: Another model, kernel size or dtype.
    """

    # Log-mels of speech lie about this in nepers; off it, a little precision is lost.
    CENTRE = -4.0

    def __init__(self, model: MelFlow, dtype: torch.dtype) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype}, the CPU's inverse takes one of {DTYPES}")
        folded = fold(model)
        sizes = {len(layer.taps) for step in folded.steps for layer in step.layers}
        if sizes != {3}:
            raise ValueError(f"kernel_size is {max(sizes)}, the CPU's inverse takes 3; use the backend 'reference'")
        self._folded, self._squeeze = folded, model.flow.steps[0]
        self._n_group, self._hop_length = model.n_group, model.mel_config.hop_length
        self._reach = max(layer.dilation for step in folded.steps for layer in step.layers)
        self._widths = [len(folded.steps[0].mix), *(step.early for step in folded.steps)]
        self._busy = threading.Lock()

    @torch.no_grad()
    def __call__(self, latent: Tensor, context: MelContext) -> Tensor:
        """Map a latent to audio, float32 `(B, T)`, as `MelFlow.inverse`."""
        lengths = [latent.shape[1]] * len(latent) if context.lengths is None else context.lengths.tolist()
        n_frames = [-(-n // self._hop_length) for n in lengths]
        n_positions = len(self._folded.upsampling)
        gap = max(-(-self._reach // n_positions), self._folded.before + self._folded.after)
        starts = np.cumsum([0, *(n + gap for n in n_frames)]).tolist()
        total = starts.pop() - gap
        features = torch.zeros(total, self._folded.upsampling.shape[2])
        for mel, start, n in zip(context.mel.expand(len(latent), -1, -1), starts, n_frames):
            if n:
                features[start : start + n] = self._folded.features(mel[None, :, :n])[0]
        places = [(start * n_positions, n // self._n_group) for start, n in zip(starts, lengths)]
        audio = torch.zeros_like(latent)
        with self._busy:
            found = self._audio(latent, features, places)
            for row, (start, n) in zip(audio, places):
                if n:
                    row[: n * self._n_group].view(n, -1)[:] = found[start : start + n, : self._n_group]
        return audio

    def _place(self, latents: list[Tensor], inside: np.ndarray, latent: Tensor, places: list[tuple[int, int]]) -> None:
        """Put the latent's channels where the steps will look for them, and zeros between the items."""
        ends = [start + n for start, n in places]
        inside[:] = 1
        for start, stop in zip(ends, [start for start, _ in places[1:]] + [len(inside)]):
            inside[start:stop] = 0
            for x in latents:
                x[start:stop] = 0
        for row, (start, n) in zip(latent, places):
            channels = row[: n * self._n_group].view(n, self._n_group).split(self._widths[::-1], dim=1)[::-1]
            for x, part in zip(latents, channels):
                x[start : start + n, : part.shape[1]] = part
