"""Training objectives: exact likelihood, and spectral distance through the inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from waveflow.audio.mel import MelConfig, MelSpectrogram

Nats = TypeVar("Nats", float, Tensor)

QUANTIZATION = 1 / 32768
"""Width of the uniform dequantization noise: one step of 16-bit audio at full scale ±1."""

RESOLUTIONS = (512, 1024, 2048)
"""FFT sizes at which spectra are compared."""

LOUDNESS_SCALES = (0.5, 1.0, 2.0)
"""Resolutions at which loudness is compared, as multiples of a mel's `n_fft`."""

LOUDNESS = 0.6
"""The power of a magnitude that is its loudness: Stevens's law, by which it is that of 0.3 of an intensity."""


def log_likelihood(z: Tensor, log_det: Tensor, lengths: Tensor | None = None, sigma: float = 1.0) -> Tensor:
    """Log-density of the data under a normal latent, with its constant.

        log p(x) = sum_i [-z_i^2 / (2 sigma^2) - log sigma - log(2 pi) / 2] + log_det

    Args:
        z: Latent `(B, ...)`, zero in the padding.
        log_det: `(B,)`, nats.
        lengths: `(B,)` number of latent values that are real; all of them unless given.
        sigma: Standard deviation of the prior.

    Returns:
        `(B,)`, nats.
    """
    z = z.to(log_det.dtype)
    count = z.shape[1:].numel() if lengths is None else lengths.to(log_det.dtype)
    constant = math.log(sigma) + 0.5 * math.log(2 * math.pi)
    return log_det - z.square().flatten(1).sum(1) / (2 * sigma**2) - constant * count


def nats_per_sample(z: Tensor, log_det: Tensor, lengths: Tensor | None = None, sigma: float = 1.0) -> Tensor:
    """Mean log-density per audio sample over a batch, every sample weighing the same; a scalar, nats."""
    count = z.numel() if lengths is None else lengths.sum()
    return log_likelihood(z, log_det, lengths, sigma).sum() / count


def bits_per_sample(nats: Nats) -> Nats:
    """Bits that 16-bit audio costs per sample, from its dequantized log-density per sample in nats.

    The density of audio at full scale ±1 over a step of 1/32768: `bits = 15 - nats / log 2`.
    """
    return -math.log2(QUANTIZATION) - nats / math.log(2)


def waveglow_loss(z: Tensor, log_det: Tensor, sigma: float = 1.0) -> Tensor:
    """WaveGlow's training loss: negative log-likelihood per sample without its constants, a scalar.

    Source: the final likelihood of WaveGlow (arXiv:1811.00002), averaged as in NVIDIA's code.
    """
    return (z.square().sum() / (2 * sigma**2) - log_det.sum()) / z.numel()


def dequantize(audio: Tensor, uniform: Tensor | torch.Generator | None = None) -> Tensor:
    """Add uniform noise of one 16-bit step, so that the density of quantized audio is bounded (arXiv:1511.01844).

    Args:
        audio: Full scale ±1, any shape.
        uniform: Noise from 0 to 1 that fits the audio, or what to draw it with; PyTorch's own generator unless given.
    """
    if not isinstance(uniform, Tensor):
        uniform = torch.rand(audio.shape, generator=uniform, dtype=audio.dtype, device=audio.device)
    return audio + QUANTIZATION * (uniform - 0.5)


class SpectralLoss(nn.Module):
    """Distance of two waveforms as they sound: spectra at several resolutions, and the model's own mel.

        mean over resolutions of [ mean |log |S| - log |R|| + ||S - R|| / ||R|| ]  +  w mean |log-mel(s) - log-mel(r)|
        +  l loudness(s, r)  +  p phases(s, r)

    with |S| and |R| STFT magnitudes of synthesis and reference, and the last two `LoudnessDistance` and
    `PhaseDistance`.

    Source: multi-resolution STFT loss of Parallel WaveGAN (arXiv:1910.11480); mel term as HiFi-GAN (arXiv:2010.05646).

    Args:
        mel: The mel transform of the model, applied to both.
        resolutions: FFT sizes; windows of the same length, hops of a quarter.
        floor: Magnitudes below this count as this; full-scale audio, unnormalised STFT.
        mel_weight: w.
        loudness_weight: l.
        phase_weight: p.
    """

    def __init__(
        self,
        mel: MelSpectrogram,
        resolutions: Sequence[int] = RESOLUTIONS,
        floor: float = 1e-3,
        mel_weight: float = 1.0,
        loudness_weight: float = 0.0,
        phase_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.loudness_weight, self.phase_weight = loudness_weight, phase_weight
        self.loudness = LoudnessDistance(mel.config) if loudness_weight else None
        self.phases = PhaseDistance(resolutions) if phase_weight else None
        self.mel, self.resolutions, self.floor, self.mel_weight = mel, tuple(resolutions), floor, mel_weight
        for n_fft in self.resolutions:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, synthesis: Tensor, reference: Tensor, *, per_item: bool = False) -> Tensor:
        """Compare `(B, T)` with `(B, T)`; a scalar, or where `per_item` is true `(B,)`, each item taken alone."""
        over = (-2, -1) if per_item else (-3, -2, -1)
        total: Tensor | float = 0.0
        for n_fft in self.resolutions:
            s, r = self._magnitude(synthesis, n_fft), self._magnitude(reference, n_fft)
            distance, size = (torch.linalg.vector_norm(x, dim=over) for x in (s - r, r))
            total = total + (s.log() - r.log()).abs().mean(over) + distance / size.clamp_min(self.floor)
        of_mels = (self.mel(synthesis) - self.mel(reference)).abs().mean(over)
        distance = total / len(self.resolutions) + self.mel_weight * of_mels
        if self.loudness is not None:
            distance = distance + self.loudness_weight * self.loudness(synthesis, reference, per_item=per_item)
        if self.phases is not None:
            distance = distance + self.phase_weight * self.phases(synthesis, reference, per_item=per_item)
        return distance

    def _magnitude(self, audio: Tensor, n_fft: int) -> Tensor:
        window = getattr(self, f"window_{n_fft}")
        spectrum = torch.stft(audio, n_fft, n_fft // 4, n_fft, window.to(audio.dtype), return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(self.floor**2).sqrt()


class LoudnessDistance(nn.Module):
    """Distance of two waveforms in loudness, relative to that of the reference, at several resolutions.

        mean over resolutions of  sum |mel(s)^0.6 - mel(r)^0.6| / sum mel(r)^0.6

    Logarithms count a quiet bin for as much as a loud one; in loudness the partials of a voice count for most. What a
    flow gets wrong of them are phases, which tell by what leaks beside a partial.

    Args:
        mel: Whose rate, bands and windows to take; magnitudes and logarithms are plain, whatever it says of them.
        scales: Resolutions, as multiples of `n_fft`, with bands and hop in proportion.
    """

    def __init__(self, mel: MelConfig, scales: Sequence[float] = LOUDNESS_SCALES) -> None:
        super().__init__()
        self.mels = nn.ModuleList(MelSpectrogram(_plain(mel, scale)) for scale in scales)

    def forward(self, synthesis: Tensor, reference: Tensor, *, per_item: bool = False) -> Tensor:
        """Compare `(B, T)` with `(B, T)`; a scalar, the mean over items, or where `per_item` is true `(B,)`."""
        total = torch.zeros(len(reference), dtype=reference.dtype, device=reference.device)
        for mel in self.mels:
            made, real = (torch.exp(LOUDNESS * mel(audio)) for audio in (synthesis, reference))
            total = total + (made - real).abs().sum((1, 2)) / real.sum((1, 2))
        total = total / len(self.mels)
        return total if per_item else total.mean()


class PhaseDistance(nn.Module):
    """Distance of two waveforms in how the phases of their partials advance, at several resolutions.

        mean over resolutions of  sum |P(s) - P(r)| / sum |P(r)|,    P_t = S_t conj(S_{t-1}) / |S_t S_{t-1}|^0.7

    over the frames t of an STFT. A partial may begin at any phase, which no mel tells; from there on its frequency says
    how it goes on, and the angle of P is what it goes on by. The magnitude of P is the loudness of both frames.

    Args:
        resolutions: FFT sizes; Hann windows of the same length, hops of a quarter.
        floor: Distances and products well below this hardly count; full-scale audio, unnormalised STFT.
    """

    def __init__(self, resolutions: Sequence[int] = RESOLUTIONS, floor: float = 1e-2) -> None:
        super().__init__()
        self.resolutions, self.floor = tuple(resolutions), floor
        for n_fft in self.resolutions:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)

    def forward(self, synthesis: Tensor, reference: Tensor, *, per_item: bool = False) -> Tensor:
        """Compare `(B, T)` with `(B, T)`; a scalar, or where `per_item` is true `(B,)`, each item taken alone."""
        over = (-2, -1) if per_item else (-3, -2, -1)
        total: Tensor | float = 0.0
        for n_fft in self.resolutions:
            s, r = self._products(synthesis, n_fft), self._products(reference, n_fft)
            apart = self._size(s[0] - r[0], s[1] - r[1]) - self.floor
            total = total + apart.sum(over) / self._size(*r).sum(over)
        return torch.as_tensor(total) / len(self.resolutions)

    def _products(self, audio: Tensor, n_fft: int) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of P."""
        window = getattr(self, f"window_{n_fft}")
        spectrum = torch.stft(audio, n_fft, n_fft // 4, n_fft, window.to(audio.dtype), return_complex=True)
        a, b = spectrum.real, spectrum.imag
        lowered = (a.square() + b.square()).clamp_min(self.floor**2) ** ((LOUDNESS / 2 - 1) / 2)
        a, b = a * lowered, b * lowered
        real = a[..., 1:] * a[..., :-1] + b[..., 1:] * b[..., :-1]
        return real, b[..., 1:] * a[..., :-1] - a[..., 1:] * b[..., :-1]

    def _size(self, real: Tensor, imaginary: Tensor) -> Tensor:
        # Smooth where both are 0, for the gradient.
        return (real.square() + imaginary.square() + self.floor**2).sqrt()


def _plain(mel: MelConfig, scale: float) -> MelConfig:
    sizes = {name: round(scale * getattr(mel, name)) for name in ("n_fft", "win_length", "hop_length", "n_mels")}
    kept = {name: getattr(mel, name) for name in ("sample_rate", "f_min", "f_max")}
    return MelConfig(**sizes, **kept)
