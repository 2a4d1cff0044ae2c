"""PESQ and STOI through the packages `pesq` and `pystoi`, with their failures named."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from waveflow.audio.resampling import resample
from waveflow.extras import require
from waveflow.metrics.errors import UndefinedMetric
from waveflow.metrics.spectral import check_pair

PESQ_RATE = 16000
# The reference code of P.862 keeps 50 utterances and writes beyond them; 20 s cannot hold more.
PESQ_SECONDS = 20


def pesq(reference: Tensor, synthesis: Tensor, sample_rate: int) -> float:
    """Wide-band PESQ, 1.02 to 4.64 (mean opinion score), higher is better.

    ITU-T P.862.2 at 16 kHz. Insensitive to level and to delay. Recordings over 20 s are cut into equal parts
    of at most that, and the score is the mean over the parts that hold speech.

    Args:
        reference: Full scale ±1, shape `(T,)`.
        synthesis: The same shape.
        sample_rate: Hz.

    Raises:
        ValueError: Shapes do not fit.
        UndefinedMetric: No utterance detected in either, a part in which the reference speaks and the synthesis is
            silent, or less than 1/4 s of audio.
        MissingExtra: The package `pesq` is not installed.
    """
    package = require("pesq", "metrics")
    x, y = (_at_rate(audio, sample_rate, PESQ_RATE) for audio in _one_item(reference, synthesis))
    n_parts = max(1, math.ceil(len(x) / (PESQ_RATE * PESQ_SECONDS)))
    scores, reason = [], ""
    for part, other in zip(np.array_split(x, n_parts), np.array_split(y, n_parts)):
        silent = not other.any()
        if silent and not part.any():
            reason = "the synthesis is silent"
            continue
        try:
            # PESQ has no score for silence; the reference against itself tells whether it speaks there.
            scores.append(package.pesq(PESQ_RATE, part, part if silent else other, "wb"))
        except package.NoUtterancesError:
            reason = "no utterance detected"
        except package.BufferTooShortError:
            reason = f"{len(part) / PESQ_RATE:.3f} s of audio, PESQ needs at least 0.25 s"
        else:
            if silent:
                part_of = f" for {len(part) / PESQ_RATE:.0f} s of speech" if n_parts > 1 else ""
                raise UndefinedMetric(f"the synthesis is silent{part_of}")
    if not scores:
        raise UndefinedMetric(reason)
    return float(np.mean(scores))


def stoi(reference: Tensor, synthesis: Tensor, sample_rate: int) -> float:
    """Short-time objective intelligibility, about 0 to 1, higher is better.

    Source: Taal et al., An algorithm for intelligibility prediction of time-frequency weighted noisy
    speech, 2011.

    Args:
        reference: Full scale ±1, shape `(T,)`.
        synthesis: The same shape, aligned in time.
        sample_rate: Hz; resampled to 10 kHz inside.

    Raises:
        ValueError: Shapes do not fit.
        UndefinedMetric: Less than 0.4 s of speech, or a silent reference.
        MissingExtra: The package `pystoi` is not installed.
    """
    package = require("pystoi", "metrics")
    pair = _one_item(reference, synthesis)
    if not reference.any():
        raise UndefinedMetric("the reference is silent")
    too_short = UndefinedMetric("less than 0.4 s of speech in the reference")
    x, y = (_at_rate(audio, sample_rate, 10000) for audio in pair)
    if len(x) < 4000:
        raise too_short
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(package.stoi(x, y, 10000))
        except RuntimeWarning:
            raise too_short from None


def _one_item(reference: Tensor, synthesis: Tensor) -> tuple[Tensor, Tensor]:
    check_pair(reference, synthesis)
    if reference.ndim != 1:
        raise ValueError(f"audio has shape {tuple(reference.shape)}, expected (T,); score the items one by one")
    for name, audio in (("reference", reference), ("synthesis", synthesis)):
        if not audio.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite samples, expected none")
    return reference, synthesis


def _at_rate(audio: Tensor, sample_rate: int, rate: int) -> np.ndarray:
    return resample(audio.detach().to("cpu", torch.float32), sample_rate, rate).numpy()
