"""How far apart two recordings are in loudness."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from waveflow.audio.mel import MelConfig, MelSpectrogram

EXPONENT = 0.6
"""Of a magnitude, whose loudness it gives: that of an intensity is 0.3, by Stevens's law."""


class LoudnessDistance(nn.Module):
    """Distance of mels in loudness, relative to the reference's, at several resolutions.

        mean over resolutions and items of  sum |s^0.6 - r^0.6| / sum r^0.6

    with s and r mels of magnitudes. Logarithms count a quiet bin for as much as a loud one; in loudness the partials of
    a voice count for most. What a flow gets wrong are their phases, which tell by what leaks beside them.

    Args:
        mel: The mel contract; bands and hop of other resolutions keep their proportion to n_fft.
        resolutions: Each as a multiple of the contract's n_fft.
    """

    def __init__(self, mel: MelConfig, resolutions: Sequence[float] = (0.5, 1.0, 2.0)) -> None:
        super().__init__()
        self.mels = nn.ModuleList(MelSpectrogram(_scaled(mel, times)) for times in resolutions)

    def forward(self, synthesis: Tensor, reference: Tensor) -> Tensor:
        """Compare `(B, T)` with `(B, T)`; a scalar."""
        total = torch.zeros((), device=reference.device)
        for mel in self.mels:
            made, real = (torch.exp(EXPONENT * mel(audio)) for audio in (synthesis, reference))
            total = total + ((made - real).abs().sum((1, 2)) / real.sum((1, 2))).mean()
        return total / len(self.mels)


def _scaled(mel: MelConfig, times: float) -> MelConfig:
    sizes = {name: round(times * getattr(mel, name)) for name in ("n_fft", "win_length", "hop_length", "n_mels")}
    return dataclasses.replace(mel, **sizes)
