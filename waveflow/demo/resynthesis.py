"""What the demo computes: a recording in, its resynthesis, pictures and figures out."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from waveflow.audio import io
from waveflow.demo import pictures
from waveflow.demo.likelihood import nats_over_time
from waveflow.inference import Vocoder
from waveflow.losses import bits_per_sample

MAX_SECONDS = 20.0


@dataclass(frozen=True)
class Resynthesis:
    """What the page shows.

    Attributes:
        audio: `(T,)`, full scale ±1, at `sample_rate`.
        sample_rate: Hz.
        spectrograms: Of the recording and of the resynthesis, RGB.
        likelihood: Waveform and nats over time of the recording, RGB.
        summary: A sentence or two of figures, Markdown.
    """

    audio: np.ndarray
    sample_rate: int
    spectrograms: tuple[np.ndarray, np.ndarray]
    likelihood: np.ndarray
    summary: str


def prepare(recording: str, sample_rate: int) -> Tensor:
    """A sound file as mono `(T,)` at a rate.

    Raises:
        ValueError: No sound file, too long, or hardly any sound in it.
    """
    try:
        seconds = io.info(recording).duration
        if seconds > MAX_SECONDS:
            raise ValueError(f"the recording has {seconds:.0f} s, expected at most {MAX_SECONDS:g}; trim it")
        audio, _ = io.read(recording, sample_rate=sample_rate)
    except io.AudioError as error:
        # The folder is the server's own.
        raise ValueError(f"{error}".replace(recording, Path(recording).name)) from error
    if len(audio) < sample_rate // 10:
        raise ValueError(f"the recording has {len(audio) / sample_rate:.2f} s of sound, expected at least 0.1")
    return audio


def resynthesise(
    vocoder: Vocoder, audio: Tensor, *, sigma: float, denoise: float, project: int, seed: int
) -> Resynthesis:
    """Mel of a recording `(T,)`, audio of that mel, and how likely the recording is."""
    rate, hop = vocoder.sample_rate, vocoder.config.mel.hop_length
    start = time.perf_counter()
    mel = vocoder.mel(audio)
    found = vocoder(mel, sigma=sigma, denoise=denoise, project=project, seed=seed)[: len(audio)]
    taken = time.perf_counter() - start
    nats = nats_over_time(vocoder, audio).cpu()
    mean = nats.sum().item() / (len(nats) * hop)
    target, own = mel.cpu(), vocoder.mel(found).cpu()
    low, high = torch.quantile(target.flatten()[::7], torch.tensor([0.02, 0.999])).tolist()
    low, high = min(low, high - 1), high
    difference = (target - own[:, : target.shape[1]]).abs().mean().item()
    return Resynthesis(
        found.cpu().clamp(-1, 1).numpy(),
        rate,
        (
            pictures.spectrogram(target, hop, rate, low, high, "Mel of the recording"),
            pictures.spectrogram(own, hop, rate, low, high, "Mel of the resynthesis"),
        ),
        pictures.likelihood(audio, nats, rate, hop),
        f"**{len(audio) / rate / taken:.0f} x real time** on {vocoder.device.type} ({taken:.2f} s for "
        f"{len(audio) / rate:.1f} s). Log-mel distance {difference:.3f}. Likelihood of the recording **{mean:.2f} nats "
        f"a sample**, {bits_per_sample(mean):.2f} bits.",
    )


def keeper(models: Sequence[str], load: Callable[[str], Vocoder]) -> Callable[[str], Vocoder]:
    """Load models of a list when they are first asked for, and keep the last few; no other name is looked at."""

    @functools.lru_cache(maxsize=3)
    def kept(name: str) -> Vocoder:
        if name not in models:
            raise ValueError(f"no model {name!r}; choose one of {', '.join(models)}")
        vocoder = load(name)
        # What is compiled or allocated once is not the first visitor's to wait for, nor part of any figure.
        vocoder(torch.full((vocoder.config.mel.n_mels, 100), vocoder.config.mel.floor))
        return vocoder

    return kept
