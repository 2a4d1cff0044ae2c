"""Which part of a synthesis costs PESQ: each is replaced by the recording's, one at a time.

    python scripts/research/parts.py waveflow/pretrained/lapglow --data ../speech

One line a part, the mean over held-out LJSpeech clips: bands of the spectrum, its magnitudes or phases, frames of the
quiet, the middle and the loud third.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import waveflow
from research.clips import held_out_clips, parser_of_trained
from waveflow.audio import io
from waveflow.metrics import pesq

EDGES = (0, 300, 700, 1500, 3000, 5000, 8000)
N_FFT, HOP = 1024, 256


def repaired(recording: Tensor, synthesis: Tensor, sample_rate: int) -> Iterator[tuple[str, Tensor]]:
    """A synthesis `(T,)` with one part after the other as it is in the recording `(T,)`."""
    window = torch.hann_window(N_FFT)
    real, made = (torch.stft(x, N_FFT, HOP, N_FFT, window, return_complex=True) for x in (recording, synthesis))
    frequency = torch.arange(len(real))[:, None] * sample_rate / N_FFT
    loudness = real.abs().square().sum(0)
    thirds = torch.bucketize(loudness, torch.quantile(loudness, torch.tensor([1 / 3, 2 / 3])))
    spectra = {"nothing": made}
    for low, high in pairwise(EDGES):
        spectra[f"{low} to {high} Hz"] = torch.where((frequency >= low) & (frequency < high), real, made)
    spectra["magnitudes"] = torch.polar(real.abs(), made.angle())
    spectra["phases"] = torch.polar(made.abs(), real.angle())
    for third, name in enumerate(("quiet", "middle", "loud")):
        spectra[f"{name} frames"] = torch.where(thirds == third, real, made)
    for name, spectrum in spectra.items():
        yield name, torch.istft(spectrum, N_FFT, HOP, N_FFT, window, length=len(recording))


def main() -> None:
    args = parser_of_trained(__doc__).parse_args()
    vocoder = waveflow.load(args.checkpoint, device="cpu")
    scores: dict[str, list[float]] = {}
    for seed, path in enumerate(held_out_clips(args.data, "ljspeech")):
        clip = torch.as_tensor(io.read(path, sample_rate=vocoder.sample_rate)[0])
        synthesis = torch.as_tensor(vocoder(vocoder.mel(clip), seed=seed))[: len(clip)]
        for name, audio in repaired(clip[: len(synthesis)], synthesis, vocoder.sample_rate):
            scores.setdefault(name, []).append(float(pesq(clip[: len(audio)], audio, vocoder.sample_rate)))
    for name, found in scores.items():
        print(f"{name}: PESQ {np.mean(found):.3f}")


if __name__ == "__main__":
    main()
