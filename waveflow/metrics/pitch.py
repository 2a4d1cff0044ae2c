"""Pitch, voicing and periodicity, and the errors of a synthesis in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from waveflow.audio.resampling import resample
from waveflow.metrics.errors import UndefinedMetric

RATE = 16000
HOP_LENGTH = 160
F_MIN, F_MAX = 50.0, 550.0
SILENCE = 1e-6
FRAME_LENGTH = 1024
WINDOW = 512
LAGS = np.arange(int(RATE / F_MAX), int(RATE / F_MIN) + 1)


@dataclass(frozen=True)
class Pitch:
    """Pitch track of one recording, a frame every 10 ms.

    Attributes:
        f0: Hz, NaN where unvoiced, shape `(F,)`.
        periodicity: 0 to 1, shape `(F,)`.
    """

    f0: np.ndarray
    periodicity: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """Whether each frame is voiced, shape `(F,)`."""
        return ~np.isnan(self.f0)


def track_pitch(audio: Tensor, sample_rate: int) -> Pitch:
    """Track pitch and periodicity.

    At 16 kHz, from 50 to 550 Hz, as CARGAN does (arXiv:2110.10139), but every 10 ms and without its neural
    tracker:

    - F0 and the decision voiced or unvoiced are those of pYIN (Mauch and Dixon 2014; librosa's), F0 refined
      between pYIN's steps of 20 cents by a parabola through the correlation below;
    - periodicity is the largest normalised autocorrelation of 32 ms of signal, over the lags of that range,

          max over tau of  sum_n x[n] x[n + tau] / (sqrt(sum_n x[n]^2 * sum_n x[n + tau]^2) + floor),

      clamped at 0. The floor, a power of -60 dB of full scale, makes silence aperiodic.

    Frames with less power than that floor are unvoiced.

    Args:
        audio: Full scale ±1, shape `(T,)`.
        sample_rate: Hz.

    Raises:
        ValueError: Not one-dimensional, empty, or not finite.
    """
    if audio.ndim != 1 or not audio.numel() or not audio.isfinite().all():
        raise ValueError(f"audio has shape {tuple(audio.shape)}, expected (T,), at least one sample, all finite")
    import librosa

    audio = audio.detach().to("cpu", torch.float32)
    samples = resample(audio, sample_rate, RATE).double().numpy()
    correlation, power = _correlation(samples)
    f0, voiced, _ = librosa.pyin(
        samples,
        fmin=F_MIN,
        fmax=F_MAX,
        sr=RATE,
        frame_length=FRAME_LENGTH,
        hop_length=HOP_LENGTH,
        resolution=0.2,
    )
    f0 = np.where(voiced & (power > SILENCE), f0, np.nan)
    return Pitch(f0=_refine(f0, correlation), periodicity=correlation.max(axis=1).clip(0.0, 1.0))


def f0_rmse_cents(reference: Pitch, synthesis: Pitch) -> float:
    """Root mean square over the frames voiced in both of `1200 log2(f0 / f0')`.

    Raises:
        UndefinedMetric: No frame is voiced in both.
    """
    x, y = _both_voiced(reference, synthesis)
    return _rms(1200 * np.log2(x / y))


def f0_rmse_hz(reference: Pitch, synthesis: Pitch) -> float:
    """Root mean square over the frames voiced in both of `f0 - f0'`.

    Raises:
        UndefinedMetric: No frame is voiced in both.
    """
    x, y = _both_voiced(reference, synthesis)
    return _rms(x - y)


def vuv_f1(reference: Pitch, synthesis: Pitch) -> float:
    """F1 score of the decision "voiced", the reference being the truth: `2 TP / (2 TP + FP + FN)`.

    Raises:
        UndefinedMetric: No frame is voiced in either.
    """
    _check_frames(reference, synthesis)
    either = (reference.voiced | synthesis.voiced).sum()
    both = (reference.voiced & synthesis.voiced).sum()
    if not either:
        raise UndefinedMetric("no frame is voiced in either")
    return float(2 * both / (both + either))


def periodicity_rmse(reference: Pitch, synthesis: Pitch) -> float:
    """Root mean square over all frames of the difference in periodicity.

    CARGAN's figure (arXiv:2110.10139), which BigVGAN and Vocos report with the confidence of the neural
    tracker CREPE as periodicity. Here periodicity is an autocorrelation (see `track_pitch`): compare values
    of one kind.
    """
    _check_frames(reference, synthesis)
    return _rms(reference.periodicity - synthesis.periodicity)


def _correlation(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised autocorrelation `(F, len(LAGS))` around each frame's centre, and power `(F,)`."""
    span = WINDOW + int(LAGS[-1])
    padded = np.pad(samples, (span // 2, span - span // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, span)[: len(samples) + 1 : HOP_LENGTH]
    frames = frames - frames.mean(axis=1, keepdims=True)
    n_fft = 2048
    spectrum = np.fft.rfft(frames, n_fft) * np.fft.rfft(frames[:, :WINDOW], n_fft).conj()
    products = np.fft.irfft(spectrum, n_fft)[:, LAGS]
    energy = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)
    here, there = energy[:, [WINDOW]], energy[:, LAGS + WINDOW] - energy[:, LAGS]
    return products / (np.sqrt(here * there) + WINDOW * SILENCE), energy[:, -1] / span


def _refine(f0: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Move each F0 to the correlation's peak within 2 lags and 2 % of it; keep it where there is none."""
    refined = f0.copy()
    for frame in np.flatnonzero(~np.isnan(f0)):
        lag = RATE / f0[frame] - LAGS[0]
        reach = 2 + 0.02 * RATE / f0[frame]
        start, end = max(0, int(np.ceil(lag - reach))), min(len(LAGS), int(lag + reach) + 1)
        peak = start + int(correlation[frame, start:end].argmax())
        if start < peak < end - 1:
            before, top, after = correlation[frame, peak - 1 : peak + 2]
            offset = 0.5 * (before - after) / (before - 2 * top + after)
            refined[frame] = RATE / (LAGS[peak] + offset)
    return refined


def _both_voiced(reference: Pitch, synthesis: Pitch) -> tuple[np.ndarray, np.ndarray]:
    _check_frames(reference, synthesis)
    both = reference.voiced & synthesis.voiced
    if not both.any():
        raise UndefinedMetric("no frame is voiced in both")
    return reference.f0[both], synthesis.f0[both]


def _check_frames(reference: Pitch, synthesis: Pitch) -> None:
    if len(reference.f0) != len(synthesis.f0):
        raise ValueError(
            f"the tracks have {len(reference.f0)} and {len(synthesis.f0)} frames; trim the audio to one length first"
        )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
