"""Likelihood as a tool: how likely each recording of a folder is, and which are odd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from waveflow.audio import io
from waveflow.audio.clipping import CLIPPED_SHARE, Clipping
from waveflow.inference.vocoder import Vocoder
from waveflow.losses import bits_per_sample

SILENT_PEAK = 10 ** (-60 / 20)
PCM_BITS = 16
UNLIKELY_DEVIATIONS = 3.5
ENOUGH_FILES = 5


@dataclass
class Score:
    """What is known of one recording.

    Attributes:
        path: The file.
        seconds: Its length.
        sample_rate: Of the file, Hz; it is resampled to the model's before scoring.
        peak: Largest absolute sample of the file.
        clipped: Share of clipped samples of the file, see `Clipping`.
        nats: Log-density per sample, with the prior's constant and dequantization noise of one 16-bit step.
        bits: What 16-bit audio costs per sample, `15 - nats / log 2`.
        flags: Why it stands out: `silent`, `clipped`, `rate`, `incompressible`, `unlikely`.
    """

    path: Path
    seconds: float
    sample_rate: int
    peak: float
    clipped: float
    nats: float
    bits: float
    flags: list[str] = field(default_factory=list)


def score_file(vocoder: Vocoder, path: Path) -> Score:
    """Score one recording, and flag what needs no others to be seen.

    It is incompressible where the model spends more on it than the 16 bits a sample that it has as plain PCM.

    Raises:
        ValueError: It cannot be read, is shorter than one group of samples, or so loud that its density is no number;
            the message names it.
    """
    channels, rate = io.read(path, mono=False)
    clipping = Clipping()
    clipping.watch(channels)
    peak = channels.abs().max().item()
    mixed = channels.mean(0)
    try:
        nats = vocoder.nats_per_sample(io.resample(mixed, rate, vocoder.sample_rate)).item()
        if not math.isfinite(nats):
            raise ValueError(f"its peak is {peak:.3g}, expected full scale 1; write it anew")
    except ValueError as error:
        raise ValueError(f"{path} cannot be scored: {error}") from error
    score = Score(path, channels.shape[1] / rate, rate, peak, clipping.share, nats, bits_per_sample(nats))
    # What is scored: channels of opposite polarity cancel.
    if mixed.abs().max() < SILENT_PEAK:
        score.flags.append("silent")
    if clipping.share > CLIPPED_SHARE:
        score.flags.append("clipped")
    if rate < vocoder.sample_rate:
        score.flags.append("rate")
    if score.bits > PCM_BITS:
        score.flags.append("incompressible")
    return score


def flag_unlikely(scores: Sequence[Score]) -> None:
    """Flag the recordings whose bits per sample stand far from the median of the folder, on either side.

    Far is more than `3.5 (1 + 4 / (n - 2))` robust standard deviations, 1.4826 times the median absolute deviation:
    of so few numbers, that deviation is often much too small. Fewer than five recordings that are not silent make no
    folder to stand out from.
    """
    heard = [score for score in scores if "silent" not in score.flags]
    if len(heard) < ENOUGH_FILES:
        return
    middle = median(score.bits for score in heard)
    far = UNLIKELY_DEVIATIONS * (1 + 4 / (len(heard) - 2))
    deviation = 1.4826 * median(abs(score.bits - middle) for score in heard)
    for score in heard:
        if abs(score.bits - middle) > far * max(deviation, torch.finfo(torch.float32).eps):
            score.flags.append("unlikely")
