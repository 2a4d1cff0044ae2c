"""Changing the sample rate, at once or piece by piece with the same result."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import torch
import torchaudio
from torch import Tensor

# A Kaiser-windowed sinc of 64 zero crossings: flat to 0.9 of the lower Nyquist frequency, no audible aliases.
_FILTER: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


def resample(audio: Tensor, rate: int, target: int) -> Tensor:
    """Change the sample rate with a windowed sinc.

    Args:
        audio: Shape `(..., T)`.
        rate: Its rate, Hz.
        target: The rate wanted, Hz.

    Returns:
        Shape `(..., ceil(T * target / rate))`.

    Raises:
        ValueError: A rate is not positive.
    """
    if rate < 1 or target < 1:
        raise ValueError(f"sample rates {rate} and {target} Hz must be positive")
    if rate == target or audio.shape[-1] == 0:
        return audio
    ratio = _ratio(rate, target)
    resampled = torchaudio.functional.resample(audio, ratio.denominator, ratio.numerator, **_FILTER)
    length = -(-audio.shape[-1] * target // rate)
    return torch.nn.functional.pad(resampled, (0, length - resampled.shape[-1]))


def resample_pieces(pieces: Iterator[Tensor], rate: int, target: int) -> Iterator[Tensor]:
    """`resample` for audio that comes in pieces, in memory that does not grow with its length.

    Every output is computed with all the input its filter reaches, so the joined pieces are what `resample`
    makes of the joined input, to rounding.

    Args:
        pieces: Consecutive pieces of one recording, shape `(..., T_i)`.
        rate: Its rate, Hz.
        target: The rate wanted, Hz.

    Yields:
        Consecutive pieces at the new rate.
    """
    ratio = _ratio(rate, target)
    up, down = ratio.numerator, ratio.denominator
    reach = _FILTER["lowpass_filter_width"] * max(down / up, 1.0) / _FILTER["rolloff"]
    margin = (int(reach) // down + 2) * down  # whole periods of the filter keep the outputs on one grid
    held, left, total, done = next(pieces, torch.zeros(0)), 0, 0, 0
    total = held.shape[-1]
    for piece in pieces:
        held, total = torch.cat([held, piece], dim=-1), total + piece.shape[-1]
        whole = (held.shape[-1] - left - margin) // down * down
        if whole <= 0:
            continue
        out = torchaudio.functional.resample(held[..., : left + whole + margin], down, up, **_FILTER)
        out = out[..., left * up // down : (left + whole) * up // down]
        done += out.shape[-1]
        yield out
        keep = max(left + whole - margin, 0)
        held, left = held[..., keep:].clone(), left + whole - keep
    if total:
        out = torchaudio.functional.resample(held, down, up, **_FILTER)[..., left * up // down :]
        length = -(-total * target // rate) - done
        yield torch.nn.functional.pad(out, (0, length - out.shape[-1]))


def _ratio(rate: int, target: int) -> Fraction:
    """The rate change: exact for all rates in use, to 1e-6 for others, whose filters would be huge."""
    return Fraction(target, rate).limit_denominator(1000)
