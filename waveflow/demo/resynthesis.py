"""What the demo computes: a recording or a mel in, its resynthesis, pictures and figures out."""

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
from waveflow.audio.mel import MelConfig
from waveflow.audio.mel_doctor import check_and_diagnose
from waveflow.audio.mel_files import read_mel
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
        spectrograms: Of what was given and of the resynthesis, RGB.
        likelihood: Waveform and nats over time of the recording, RGB; None for a mel.
        summary: A sentence or two of figures, Markdown.
    """

    audio: np.ndarray
    sample_rate: int
    spectrograms: tuple[np.ndarray, np.ndarray]
    likelihood: np.ndarray | None
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


def prepare_mel(path: str, config: MelConfig) -> Tensor:
    """A mel file as `(n_mels, F)` under a contract.

    Raises:
        ValueError: No mel file, a mel of another contract, too long or too short.
    """
    try:
        mel = read_mel(path)
    except ValueError as error:
        # The folder is the server's own.
        raise ValueError(f"{error}".replace(path, Path(path).name)) from error
    check_and_diagnose(mel, config)
    if mel.dim() != 2:
        raise ValueError(f"mel has shape {tuple(mel.shape)}, expected (n_mels, F); give one item")
    seconds = config.samples(mel.shape[1]) / config.sample_rate
    if not 0.1 <= seconds <= MAX_SECONDS:
        raise ValueError(f"the mel has {seconds:.2f} s, expected 0.1 to {MAX_SECONDS:g}")
    return mel


def resynthesise(
    vocoder: Vocoder, given: Tensor, *, sigma: float, denoise: float, project: int, seed: int
) -> Resynthesis:
    """Audio of a mel `(n_mels, F)`; or of the mel of a recording `(T,)`, and how likely the recording is."""
    rate, hop = vocoder.sample_rate, vocoder.config.mel.hop_length
    is_mel = given.dim() == 2
    start = time.perf_counter()
    mel = given if is_mel else vocoder.mel(given)
    found = vocoder(mel, sigma=sigma, denoise=denoise, project=project, seed=seed)
    found = found if is_mel else found[: len(given)]
    taken = time.perf_counter() - start
    target, own = mel.cpu(), vocoder.mel(found).cpu()
    low, high = torch.quantile(target.flatten()[::7], torch.tensor([0.02, 0.999])).tolist()
    low, high = min(low, high - 1), high
    difference = (target - own[:, : target.shape[1]]).abs().mean().item()
    summary = (
        f"**{len(found) / rate / taken:.0f} x real time** on {vocoder.device.type} ({taken:.2f} s for "
        f"{len(found) / rate:.1f} s). Log-mel distance {difference:.3f}."
    )
    picture = None
    if not is_mel:
        nats = nats_over_time(vocoder, given).cpu()
        mean = nats.sum().item() / (len(nats) * hop)
        picture = pictures.likelihood(given, nats, rate, hop)
        summary += f" Likelihood of the recording **{mean:.2f} nats a sample**, {bits_per_sample(mean):.2f} bits."
    return Resynthesis(
        found.cpu().clamp(-1, 1).numpy(),
        rate,
        (
            pictures.spectrogram(target, hop, rate, low, high, f"Mel {'given' if is_mel else 'of the recording'}"),
            pictures.spectrogram(own, hop, rate, low, high, "Mel of the resynthesis"),
        ),
        picture,
        summary,
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
