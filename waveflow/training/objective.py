"""What is minimised: the likelihood of the batch, and for some items how a sample sounds, and how likely it is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from waveflow.audio.mel import MelSpectrogram
from waveflow.losses import SpectralLoss, dequantize, log_likelihood
from waveflow.models import LapGlow, MelContext, MelFlow
from waveflow.training.config import ObjectiveConfig
from waveflow.training.passes import Passes, Steps


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

        log p(audio + (uniform - 1/2) / 32768 | mel),     distance(s, audio),     s = model.inverse(sigma * latent, mel)

    By the distance the density may become far sharper around s than a step of 16 bits, so that the model finds what it
    says itself impossible. `own` is how much less likely s is than the recording, both dequantized, s held and under
    its own mel, d nats per sample: `log(1 + max(0, d))`.

    Args:
        model: The flow that is trained.
        chosen: Weights within the distance, whether `own` is computed at all, and sigma; the model's unless given.
        steps: How to compute both passes of a LapGlow on a CPU; the model's own passes unless given.
    """

    def __init__(self, model: MelFlow, chosen: ObjectiveConfig, steps: Steps | None = None) -> None:
        super().__init__()
        self.model, self.steps = model, steps
        self.sigma = model.config.sigma if chosen.sigma is None else chosen.sigma
        self.own = chosen.own_weight > 0
        self.spectral = SpectralLoss(
            MelSpectrogram(model.mel_config),
            mel_weight=chosen.mel_weight,
            loudness_weight=chosen.loudness_weight,
            phase_weight=chosen.phase_weight,
        )

    def forward(self, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """Score and synthesise.

        Returns:
            Log-likelihood summed over the items, nats; spectral distance, and how much less likely the syntheses are,
            summed over the chosen ones, 0 without any or where they are not asked for. Sums, so that a batch may be
            taken in parts.
        """
        noisy = dequantize(part.audio, part.uniform)
        z, log_det, synthesis = (self._plain if self.steps is None else self._arranged)(noisy, part)
        nats = log_likelihood(z, log_det)
        nothing = nats.new_zeros(())
        if synthesis is None:
            return nats.sum(), nothing, nothing
        synthesis = synthesis.float()
        distance = self.spectral(synthesis, part.audio[part.chosen], per_item=True).sum()
        if not self.own:
            return nats.sum(), distance, nothing
        missing = nats[part.chosen].detach() - self._nats(synthesis.detach(), part.uniform[part.chosen])
        return nats.sum(), distance, torch.log1p((missing / part.audio.shape[1]).clamp_min(0)).sum()

    def _nats(self, synthesis: Tensor, uniform: Tensor) -> Tensor:
        """The log-likelihood of syntheses under their own mels, `(N,)`."""
        mel = self.spectral.mel(synthesis)[..., : synthesis.shape[1] // self.model.mel_config.hop_length]
        nobody = torch.empty(0, dtype=torch.long, device=synthesis.device)
        part = Part(synthesis, mel, uniform, nobody, synthesis[:0])
        run = self._plain if self.steps is None else self._arranged
        z, log_det, _ = run(dequantize(synthesis, uniform), part)
        return log_likelihood(z, log_det)

    def _plain(self, noisy: Tensor, part: Part) -> tuple[Tensor, Tensor, Tensor | None]:
        z, log_det = self.model(noisy, MelContext(part.mel))
        if not len(part.chosen):
            return z, log_det, None
        return z, log_det, self.model.inverse(self.sigma * part.latent, MelContext(part.mel[part.chosen]))

    def _arranged(self, noisy: Tensor, part: Part) -> tuple[Tensor, Tensor, Tensor | None]:
        assert isinstance(self.model, LapGlow)
        assert self.steps is not None
        kind = noisy.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else noisy.dtype
        with torch.autocast(kind, enabled=False):
            passes = Passes(self.model, part.mel, dtype, self.steps)
            z, log_det = passes.forward(noisy)
            if not len(part.chosen):
                return z, log_det, None
            assert part.chosen[-1] == len(part.chosen) - 1, "the chosen items are not the first ones"
            latent = self.sigma * part.latent.view(len(part.chosen), -1, self.model.n_group)
            return z, log_det, passes.inverse(latent)
