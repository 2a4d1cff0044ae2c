"""What is minimised: the likelihood of the batch, and for some items how a sample through the inverse sounds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from waveflow.audio.mel import MelSpectrogram
from waveflow.losses import QUANTIZATION, SpectralLoss, log_likelihood
from waveflow.models import MelContext, MelFlow


class Part(NamedTuple):
    """Items that go through the model together: a batch, or a part of one.

    audio: Full scale ±1, `(B, T)`.
    mel: `(B, n_mels, F)`.
    uniform: Dequantization noise from 0 to 1, `(B, T)`.
    chosen: Which items are synthesised, `(N,)`.
    latent: Standard normal noise for these, `(N, T)`.
    """

    audio: Tensor
    mel: Tensor
    uniform: Tensor
    chosen: Tensor
    latent: Tensor

    def to(self, device: torch.device) -> Part:
        """The same on a device; from pinned memory without waiting."""
        return Part(*(tensor.to(device, non_blocking=True) for tensor in self))


class Objective(nn.Module):
    """Log-likelihood and spectral distance of a batch, in one forward pass, so that DDP sees all of it.

        log p(audio + (uniform - 1/2) / 32768 | mel),     distance(model.inverse(sigma * latent, mel), audio)

    Args:
        model: The flow that is trained.
        sigma: Standard deviation of the latent that is synthesised.
    """

    def __init__(self, model: MelFlow, sigma: float) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma
        self.spectral = SpectralLoss(MelSpectrogram(model.mel_config))

    def forward(self, part: Part) -> tuple[Tensor, Tensor]:
        """Score and synthesise.

        Returns:
            Log-likelihood summed over the items, nats; spectral distance summed over the chosen ones, 0 without any.
            Sums, so that a batch may be taken in parts.
        """
        noisy = part.audio + QUANTIZATION * (part.uniform - 0.5)
        likelihood = log_likelihood(*self.model(noisy, MelContext(part.mel))).sum()
        if not len(part.chosen):
            return likelihood, likelihood.new_zeros(())
        synthesis = self.model.inverse(self.sigma * part.latent, MelContext(part.mel[part.chosen]))
        distance = self.spectral(synthesis.float(), part.audio[part.chosen], per_item=True)
        return likelihood, distance.sum()
