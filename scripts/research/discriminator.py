"""Discriminators of real and synthesised spectra, cheap enough for a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

FLOOR = 1e-3


class SpectralDiscriminator(nn.Module):
    """One stack of convolutions over time for each STFT resolution, the bins being its channels.

        D(x) = conv(...lrelu(conv(log |STFT(x)|)))    one verdict per frame and group of bins

    Source: multi-resolution spectrogram discriminators of UnivNet (arXiv:2106.07889), with bins as channels; least
    squares and feature matching as in HiFi-GAN (arXiv:2010.05646).
    """

    def __init__(self, resolutions: Sequence[int] = (512, 1024, 2048), n_channels: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        self.resolutions = tuple(resolutions)
        self.stacks = nn.ModuleList()
        for n_fft in self.resolutions:
            widths = [n_fft // 2 + 1, *[n_channels] * n_layers, 8]
            convs = [nn.Conv1d(a, b, 5, padding=2) for a, b in itertools.pairwise(widths)]
            self.stacks.append(nn.ModuleList(weight_norm(conv) for conv in convs))

    def forward(self, audio: Tensor) -> list[list[Tensor]]:
        """Of audio `(B, T)`, the activations of each stack, its verdict last."""
        found = []
        for n_fft, stack in zip(self.resolutions, self.stacks):
            window = torch.hann_window(n_fft, device=audio.device)
            spectrum = torch.stft(audio, n_fft, n_fft // 4, n_fft, window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            h, activations = 0.25 * power.clamp_min(FLOOR**2).log(), []
            for i, conv in enumerate(stack):
                h = conv(h if i == 0 else F.leaky_relu(h, 0.1))
                activations.append(h)
            found.append(activations)
        return found


def told_apart(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """What the discriminator minimises: real towards 1, made towards 0."""
    losses = [(r[-1] - 1).square().mean() + m[-1].square().mean() for r, m in zip(real, made)]
    return sum(losses) / len(losses)


def taken_for_real(real: list[list[Tensor]], made: list[list[Tensor]], matching: float) -> Tensor:
    """What the synthesis minimises: verdicts towards 1, and activations towards those of the real audio."""
    verdicts = sum((m[-1] - 1).square().mean() for m in made) / len(made)
    pairs = [(r.detach(), m) for rs, ms in zip(real, made) for r, m in zip(rs[:-1], ms[:-1])]
    return verdicts + matching * sum((r - m).abs().mean() / r.abs().mean() for r, m in pairs) / len(pairs)
