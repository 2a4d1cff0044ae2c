"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Settings:
    """What a run does; every row of the research table overrides some of these.

    Attributes:
        model: Name in the registry.
        config: Overrides of its config.
        start: Checkpoint directory to go on from; fresh weights unless given. With a `config` of more flows,
            these start as permutations after its own, so that nothing changes at first.
        steps: Optimizer steps in all.
        cooldown: Last steps, over which the rate falls to zero; all of them unless given.
        warmup: First steps, over which it rises.
        batch: Segments per step.
        segment: Samples per segment.
        optimizer: `adamw` or `muon`, the latter for the matrices of conditioners and encoder.
        rate: Learning rate.
        muon_rate: Muon's, as a multiple.
        muon_decay: Muon's weight decay.
        mixing: How the 1x1 convolutions start: `split`, as the model has them, or `rotation`, random.
        ema: Decay of the average of the weights that is kept.
        spectral: Weight of the spectral loss through the inverse, 0 for likelihood alone.
        share: Part of the batch that is synthesised for it.
        mel_weight: Further weight of the log-mel distance within the spectral loss.
        loudness: Weight, within the spectral loss, of the distance in loudness, in which loud bins count for more.
        phases: Weight, within the spectral loss, of the distance in how phases advance.
        projected: Weight, within the spectral loss, of an unweighted one after one mel projection.
        adversarial: Weight of the verdicts of a discriminator that learns alongside, 0 for none.
        own: Weight of how much less likely the syntheses are than the recordings, once they are 16-bit audio too: of
            `log(1 + d)`, d in nats per sample. By the spectral loss alone the density becomes far sharper around what
            the model draws than a step of 16 bits.
        matching: Weight, beside a verdict's, of the distance of the discriminator's activations.
        sigma: Standard deviation of the latent that the model draws, then and later; the config's unless given.
        augment: Change the level of half of the segments.
        faster: Part of the segments that are played faster, by 4, 8 or 12 hundredths: at other pitches.
        data_minutes: Use this much of each speaker only.
        seed: Of weights and batches.
        compiled: Compile what is elementwise.
    """

    model: str = "lapglow-base"
    config: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    steps: int = 1000
    cooldown: int | None = None
    warmup: int = 100
    batch: int = 16
    segment: int = 16384
    optimizer: str = "adamw"
    rate: float = 8e-4
    muon_rate: float = 1.0
    muon_decay: float = 0.0
    mixing: str = "split"
    ema: float = 0.99
    spectral: float = 0.3
    share: float = 0.5
    mel_weight: float = 0.0
    loudness: float = 0.0
    phases: float = 0.0
    projected: float = 0.0
    adversarial: float = 0.0
    own: float = 0.0
    matching: float = 2.0
    sigma: float | None = None
    augment: bool = True
    faster: float = 0.0
    data_minutes: float | None = None
    seed: int = 0
    compiled: bool = False

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        falling = (self.steps - step) / (self.cooldown or self.steps)
        return self.rate * min(1.0, (step + 1) / max(self.warmup, 1), falling)
