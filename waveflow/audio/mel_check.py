"""The check that a mel is what a model expects, before the model turns a wrong one into noise."""

import math
from functools import lru_cache
from typing import Any

import torch
import torchaudio
from torch import Tensor

from waveflow.audio.mel_config import LOG_SCALE, MelConfig

REMEDY = "recompute it with vocoder.mel(audio) or `waveflow mel`"

# All levels are nepers, ln of magnitude. Predicted mels overshoot, but not by this much.
HEADROOM = 3.0
# Full-scale white noise, below a full-scale constant in every bin.
NOISE_LEVEL = 3.2
# Recorded speech, 60 clips of six speakers at levels 20 dB apart: spread along time 1.4 to 2.2, skew -0.2
# to 0.3, median 7 to 11 below full scale. Noise of any colour has less spread; speech in noise, more skew.
SPEECH_SPREAD = (1.3, 2.7)
SPEECH_LEVEL = (-11.5, -6.4)
SPEECH_SKEW = 0.36
# No other logarithm gives speech a spread in here.
OWN_SPREAD = (1.0, 3.0)
# Fewer frames, about a second, may all be one sound.
ENOUGH_FRAMES = 86
SAMPLED_FRAMES = 2048
SAMPLED_ITEMS = 16


def check_mel(mel: Any, config: MelConfig) -> None:
    """Refuse a mel that the model would turn into noise.

    Args:
        mel: Shape `(B, n_mels, F)` or `(n_mels, F)`, floating point.
        config: The contract of the model.

    Raises:
        ValueError: Not a floating-point tensor, transposed, another number of bands, no frames, NaN or
            infinite, or values that audio cannot have under this contract; the message has the remedy.
    """
    if not isinstance(mel, Tensor):
        raise ValueError(f"mel is a {type(mel).__name__}, expected a torch tensor; use torch.as_tensor")
    if not mel.is_floating_point():
        raise ValueError(f"mel is {mel.dtype}, expected floating-point log-mel values; {REMEDY}")
    shape = tuple(mel.shape)
    if mel.ndim not in (2, 3):
        raise ValueError(f"mel has shape {shape}, expected (n_mels, F) or (B, n_mels, F); {REMEDY}")
    if shape[-1] == config.n_mels != shape[-2]:
        raise ValueError(
            f"mel has shape {shape}, which is transposed: expected n_mels={config.n_mels} before the frames; "
            "pass mel.transpose(-1, -2)"
        )
    if shape[-2] != config.n_mels:
        raise ValueError(f"mel has {shape[-2]} bands, the model expects n_mels={config.n_mels}; {REMEDY}")
    if mel.numel() == 0:
        raise ValueError(f"mel of shape {shape} has no frames, expected at least one; {REMEDY}")
    mel = mel.detach()
    # Extremes carry NaN and infinity along: one transfer from a GPU tells of all.
    bands = torch.stack([mel.amin(-1), mel.amax(-1)], -1).reshape(-1, config.n_mels, 2).float().cpu()
    if not bands.isfinite().all():
        bad = int((~mel.isfinite()).sum())
        raise ValueError(f"mel has {bad} NaN or infinite values of {mel.numel()}, expected none; {REMEDY}")
    _check_range(mel, bands, config)


def _check_range(mel: Tensor, bands: Tensor, config: MelConfig) -> None:
    """Refuse values of another logarithm, of no logarithm, or of a mel normalised in another way.

    Bands are the extremes of each, `(B, n_mels, 2)`.
    """
    full_scale, loudest = full_scale_of(config)
    # Extremes over every value, statistics over a sample of the frames.
    lows, highs = nepers(bands, config).unbind(-1)
    low, high = float(lows.min()), float(highs.max())
    given = f"mel values from {float(bands.min()):.4g} to {float(bands.max()):.4g}"
    expected = f"log {config.log!r} with silence at {config.floor:.4g}"

    step = -(-mel.shape[-1] // SAMPLED_FRAMES)
    values = nepers(mel.reshape(-1, *mel.shape[-2:])[:SAMPLED_ITEMS, :, ::step], config)
    likely = _likely_log(values, config, full_scale) if mel.shape[-1] >= ENOUGH_FRAMES else None
    if likely:
        raise ValueError(
            f"{given} look like log {likely!r}, the model expects {expected}; multiply them by "
            f"{LOG_SCALE[config.log] / LOG_SCALE[likely]:.6g} before any normalisation, or {REMEDY}"
        )
    floor = math.log(config.clip) / config.power
    if low < floor - HEADROOM or high > loudest + HEADROOM:
        raise ValueError(f"{given} are not those of audio, the model expects {expected}; {REMEDY}")
    if low > full_scale - NOISE_LEVEL and high > low:
        raise ValueError(
            f"{given} are louder than full-scale noise in every band, as linear or 0..1 scaled mels are; "
            f"the model expects {expected}; {REMEDY}"
        )


def nepers(mel: Tensor, config: MelConfig) -> Tensor:
    """Mel values to ln of magnitude, whatever the convention; mel of shape `(..., n_mels, F)`."""
    scale = LOG_SCALE[config.log] * config.power
    if not (config.mean or config.std):
        return mel.float() / scale
    mean, std = (
        torch.tensor(s or [d], device=mel.device).unsqueeze(-1) for s, d in ((config.mean, 0.0), (config.std, 1.0))
    )
    return (mel.float() * std + mean) / scale


def _likely_log(values: Tensor, config: MelConfig, full_scale: float) -> str | None:
    """The logarithm under which the values are ordinary speech, where under the own one they are not."""
    spread = float((values - values.mean(-1, keepdim=True)).std())
    if OWN_SPREAD[0] < spread < OWN_SPREAD[1]:
        return None
    low, median, high = torch.quantile(values.cpu().flatten(), torch.tensor([0.01, 0.5, 0.99])).tolist()
    if abs(high + low - 2 * median) > SPEECH_SKEW * (high - low):
        return None
    for log, scale in LOG_SCALE.items():
        factor = LOG_SCALE[config.log] / scale
        if (
            SPEECH_SPREAD[0] < spread * factor < SPEECH_SPREAD[1]
            and SPEECH_LEVEL[0] < median * factor - full_scale < SPEECH_LEVEL[1]
            and low * factor > math.log(config.clip) / config.power - HEADROOM / 10
        ):
            return log
    return None


def full_scale_of(config: MelConfig) -> tuple[float, float]:
    """Nepers of a band whose every bin is a full-scale constant: the mean over bands, and the loudest."""
    filterbank = (config.n_mels, config.f_min, config.f_max, config.norm, config.mel_scale)
    return _full_scale(config.sample_rate, config.n_fft, config.win_length, *filterbank, config.power)


@lru_cache(maxsize=32)
def _full_scale(
    sample_rate: int,
    n_fft: int,
    win_length: int,
    n_mels: int,
    f_min: float,
    f_max: float | None,
    norm: str | None,
    mel_scale: str,
    power: float,
) -> tuple[float, float]:
    top = sample_rate / 2 if f_max is None else f_max
    gains = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, f_min, top, n_mels, sample_rate, norm, mel_scale)
    gains = gains.sum(0).clamp(min=1e-3).log() / power + math.log(win_length / 2)
    return float(gains.mean()), float(gains.max())
