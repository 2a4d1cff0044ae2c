"""Spectral distances in plain torch: differentiable, one figure per item of the batch, reference first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from waveflow.metrics.errors import UndefinedMetric


class Resolution(NamedTuple):
    """One STFT: FFT length, hop and Hann window length, samples."""

    n_fft: int
    hop_length: int
    win_length: int


RESOLUTIONS = (Resolution(1024, 120, 600), Resolution(2048, 240, 1200), Resolution(512, 50, 240))

POWER_FLOOR = 1e-8


def stft_magnitude(audio: Tensor, resolution: Resolution) -> Tensor:
    """Magnitudes `sqrt(max(|X|^2, 1e-8))` of a centred, reflect-padded STFT with a periodic Hann window.

    Args:
        audio: Full scale ±1, shape `(B, T)` or `(T,)`.
        resolution: FFT length, hop and window.

    Returns:
        Shape `(B, n_fft // 2 + 1, F)` or without `B`, `F = 1 + T // hop_length`.

    Raises:
        UndefinedMetric: At most `n_fft // 2` samples, too few to reflect.
    """
    n_fft, hop_length, win_length = resolution
    if audio.shape[-1] <= n_fft // 2:
        raise UndefinedMetric(
            f"audio has {audio.shape[-1]} samples, an STFT of n_fft={n_fft} needs more than {n_fft // 2}"
        )
    window = torch.hann_window(win_length, dtype=audio.dtype, device=audio.device)
    spectrum = torch.stft(audio, n_fft, hop_length, win_length, window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=POWER_FLOOR).sqrt()


def spectral_convergence(reference: Tensor, synthesis: Tensor) -> Tensor:
    """Relative error of magnitudes, in the Frobenius norm.

        || X - Y ||_F / || X ||_F

    Source: Fast spectrogram inversion (arXiv:1808.06719).

    Args:
        reference: Magnitudes X, shape `(..., K, F)`.
        synthesis: Magnitudes Y of the same shape.

    Returns:
        Shape `(...)`.
    """
    return torch.linalg.matrix_norm(reference - synthesis) / torch.linalg.matrix_norm(reference)


def log_magnitude_l1(reference: Tensor, synthesis: Tensor) -> Tensor:
    """Mean difference of natural logarithms, `mean |ln X - ln Y|`; arguments as `spectral_convergence`."""
    return (reference.log() - synthesis.log()).abs().mean(dim=(-2, -1))


def multi_resolution_stft(
    reference: Tensor, synthesis: Tensor, resolutions: Sequence[Resolution] = RESOLUTIONS
) -> Tensor:
    """Spectral convergence plus log-magnitude L1, averaged over resolutions.

        mean over r of  || X_r - Y_r ||_F / || X_r ||_F  +  mean |ln X_r - ln Y_r|

    The M-STFT column of the BigVGAN paper (arXiv:2206.04658), which has it from auraloss: FFTs of 1024, 2048
    and 512 samples, hops of 120, 240 and 50, Hann windows of 600, 1200 and 240, whatever the sample rate.
    Source: Parallel WaveGAN (arXiv:1910.11480), equations 3 to 6. Gradients reach both arguments.

    Args:
        reference: Full scale ±1, shape `(B, T)` or `(T,)`.
        synthesis: The same shape.
        resolutions: The STFTs to average over.

    Returns:
        Shape `(B,)` or `()`.

    Raises:
        ValueError: The shapes differ.
        UndefinedMetric: The audio is shorter than half of the longest FFT.
    """
    check_pair(reference, synthesis)
    total = torch.zeros((), dtype=reference.dtype, device=reference.device)
    for resolution in resolutions:
        x, y = stft_magnitude(reference, resolution), stft_magnitude(synthesis, resolution)
        total = total + spectral_convergence(x, y) + log_magnitude_l1(x, y)
    return total / len(resolutions)


def log_mel_l1(reference: Tensor, synthesis: Tensor, mel: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean absolute difference of two mels, `mean |mel(x) - mel(y)|`, in the unit of the mel's own logarithm.

    Args:
        reference: Full scale ±1, shape `(B, T)` or `(T,)`.
        synthesis: The same shape.
        mel: Gives `(B, n_mels, F)` or `(n_mels, F)`, such as `waveflow.MelSpectrogram`.

    Returns:
        Shape `(B,)` or `()`.

    Raises:
        ValueError: The shapes differ.
    """
    check_pair(reference, synthesis)
    return (mel(reference) - mel(synthesis)).abs().mean(dim=(-2, -1))


def check_pair(reference: Tensor, synthesis: Tensor) -> None:
    """Refuse a pair of unequal shapes.

    Raises:
        ValueError: The shapes differ, or are not `(B, T)` or `(T,)`.
    """
    if reference.shape != synthesis.shape or reference.ndim not in (1, 2):
        raise ValueError(
            f"reference has shape {tuple(reference.shape)} and synthesis {tuple(synthesis.shape)}, expected "
            "two of the same shape (B, T) or (T,); trim the longer one"
        )
