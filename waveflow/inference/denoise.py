"""Take out of synthesised audio what the model adds to silence."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from waveflow.models.base import MelFlow


class Denoiser(nn.Module):
    """Spectral subtraction of a model's own bias: the magnitudes it makes of an all-zero mel at sigma 0.

        |S'| = max(|S| - strength * |bias|, 0), phase kept

    Removes the faint horizontal lines that WaveGlow draws at multiples of the rate over n_group. The denoiser of the
    original release (arXiv:1811.00002), for any model.

    Args:
        model: Computes the bias once, from `n_frames` zero frames; its mel's FFT length and hop are used.
        n_frames: Length of the zero mel; its first spectrum is used.
    """

    window: Tensor
    bias: Tensor

    def __init__(self, model: MelFlow, n_frames: int = 88) -> None:
        super().__init__()
        reference = next(chain(model.parameters(), model.buffers()))
        self.n_fft, self.hop_length = model.mel_config.n_fft, model.mel_config.hop_length
        window = torch.hann_window(self.n_fft, dtype=torch.float32, device=reference.device)
        self.register_buffer("window", window, persistent=False)
        mel = reference.new_zeros(1, model.mel_config.n_mels, n_frames)
        latent = reference.new_zeros(1, model.mel_config.samples(n_frames))
        with torch.no_grad():
            silence = model.inverse(latent, mel).float()
        self.register_buffer("bias", self._stft(silence)[:, :, :1].abs().clone(), persistent=False)

    def forward(self, audio: Tensor, strength: float) -> Tensor:
        """Denoise `(B, T)`; about 0.01 is inaudible on speech, 0.1 strong."""
        spectrum = self._stft(audio)
        magnitude = spectrum.abs()
        kept = (magnitude - strength * self.bias).clamp_min(0) / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny)
        return torch.istft(
            spectrum * kept,
            self.n_fft,
            self.hop_length,
            window=self.window.to(audio.dtype),
            length=audio.shape[-1],
        )

    def _stft(self, audio: Tensor) -> Tensor:
        window = self.window.to(audio.dtype)
        short = audio.shape[-1] <= self.n_fft // 2
        return torch.stft(
            audio,
            self.n_fft,
            self.hop_length,
            window=window,
            return_complex=True,
            pad_mode="constant" if short else "reflect",
        )
