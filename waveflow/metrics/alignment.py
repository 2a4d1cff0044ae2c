"""Length, level and delay, so that a cut, scaled or shifted file is not taken for a bad synthesis."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from waveflow.metrics.errors import UndefinedMetric

NOTABLE_GAIN_DB = 3.0
NOTABLE_OFFSET_MS = 10.0
MAX_LENGTH_DIFFERENCE = 0.25
MAX_SECONDS = 300


def trim_pair(
    reference: Tensor | np.ndarray, synthesis: Tensor | np.ndarray, sample_rate: int
) -> tuple[Tensor, Tensor]:
    """Both as float32 on the CPU, the longer one trimmed at its end.

    Args:
        reference: Full scale ±1, shape `(T,)`.
        synthesis: Shape `(T',)`, at most 0.25 s longer or shorter.
        sample_rate: Of both, Hz.

    Raises:
        ValueError: Another shape or type, no samples, NaN or infinite ones, over 5 minutes (the metrics hold
            whole spectrograms in memory), or lengths further apart.
    """
    pair = []
    for name, audio in (("reference", reference), ("synthesis", synthesis)):
        audio = torch.as_tensor(audio).detach().cpu()
        if audio.ndim != 1 or not audio.numel() or not audio.is_floating_point():
            raise ValueError(
                f"{name} is {audio.dtype} of shape {tuple(audio.shape)}, expected floating point, full scale "
                "1, of shape (T,) with at least one sample"
            )
        bad = int((~audio.isfinite()).sum())
        if bad:
            raise ValueError(f"{name} has {bad} NaN or infinite samples, expected none")
        if len(audio) > MAX_SECONDS * sample_rate:
            raise ValueError(
                f"{name} lasts {len(audio) / sample_rate:.0f} s, expected at most {MAX_SECONDS} s; "
                "cut both into utterances"
            )
        pair.append(audio.float())
    x, y = (len(audio) for audio in pair)
    if abs(x - y) > MAX_LENGTH_DIFFERENCE * sample_rate:
        raise ValueError(
            f"reference lasts {x / sample_rate:.3f} s and synthesis {y / sample_rate:.3f} s, expected "
            f"lengths within {MAX_LENGTH_DIFFERENCE} s; check that they are of one utterance and of one "
            "sample rate"
        )
    return pair[0][:y], pair[1][:x]


def gain_db(reference: Tensor, synthesis: Tensor) -> float:
    """Level of the synthesis over that of the reference, dB, by power.

    Raises:
        UndefinedMetric: One of them is silent.
    """
    x, y = (float(audio.double().square().mean()) for audio in (reference, synthesis))
    if not x or not y:
        raise UndefinedMetric(f"the {'synthesis' if x else 'reference'} is silent")
    return 10 * math.log10(y / x)


def offset_ms(reference: Tensor, synthesis: Tensor, sample_rate: int, *, within_ms: int = 200) -> float:
    """By how much the synthesis lags, ms: where the envelopes, means of |x| over 1 ms, correlate most.

    Raises:
        UndefinedMetric: Less than 20 ms of audio, or envelopes that have nothing in common (correlation below
            0.3).
    """
    block = max(1, round(sample_rate / 1000))
    if reference.shape[-1] < 20 * block:
        raise UndefinedMetric("less than 20 ms of audio")
    x, y = (
        functional.avg_pool1d(audio.double().abs().reshape(1, 1, -1), block).flatten()
        for audio in (reference, synthesis)
    )
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    reach = min(within_ms, len(x) - 1)
    spectrum = torch.fft.rfft(x, 2 * len(x)).conj() * torch.fft.rfft(y, 2 * len(x))
    correlation = torch.fft.irfft(spectrum, 2 * len(x)).roll(reach)[: 2 * reach + 1]
    best = int(correlation.argmax())
    if scale < 1e-12 or float(correlation[best]) < 0.3 * scale:
        raise UndefinedMetric("the envelopes have nothing in common")
    return (best - reach) * 1000 * block / sample_rate


def warnings(figures: Mapping[str, float]) -> dict[str, str]:
    """What to say about a `gain_db` over 3 dB and an `offset_ms` over 10 ms, by name of the figure."""
    gain, offset = figures.get("gain_db", math.nan), figures.get("offset_ms", math.nan)
    found = {}
    if abs(gain) > NOTABLE_GAIN_DB:
        found["gain_db"] = (
            f"the synthesis is {abs(gain):.1f} dB {'louder' if gain > 0 else 'quieter'} than the reference, "
            "which the spectral distances count as error; check the scaling of the files"
        )
    if abs(offset) > NOTABLE_OFFSET_MS:
        found["offset_ms"] = (
            f"the synthesis is {abs(offset):.0f} ms {'late' if offset > 0 else 'early'}, "
            "which all figures but PESQ and MCD count as error; shift it into place"
        )
    return found
