"""What is measured: a model by a backend in a precision, or another package's vocoder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from waveflow.audio.mel import MelSpectrogram
from waveflow.audio.resampling import resample
from waveflow.checkpoints import native
from waveflow.decibels import signal_to_error
from waveflow.inference.benchmark.peers import PEERS
from waveflow.inference.counting import folded_gmac
from waveflow.inference.loading import bundled_models, find_checkpoint
from waveflow.inference.noise import batch_normal
from waveflow.inference.vocoder import Vocoder
from waveflow.models import MelContext, MelFlow, build
from waveflow.models.cost import count_gmac

# Enough to say how much rounding costs, little enough for a WaveGlow in float64.
PARITY_SECONDS = 0.5


@dataclass
class Subject:
    """A vocoder ready to be measured.

    Attributes:
        model: Its name.
        backend: What computes it; `pytorch` for a peer.
        dtype: Precision of the operands.
        frame_seconds: Audio of a mel frame.
        mel: Batch and seconds to a mel `(B, n_mels, F)`.
        call: Mel to audio, everything between included.
        gmac: Multiply-accumulates as the model is written, 1e9 a second of audio.
        gmac_folded: The same after folding.
        decibels: Signal to error against the model in float64, on a real mel; None for a peer.
    """

    model: str
    backend: str
    dtype: str
    frame_seconds: float
    mel: Callable[[int, float], Tensor]
    call: Callable[[Tensor], Tensor]
    gmac: float
    gmac_folded: float
    decibels: float | None


class Flow:
    """A model with what all its backends share: weights, operations, and the truth.

    Args:
        name: A bundled model, a checkpoint directory, or a name of the registry: then its weights are random.
        recording: Audio whose mels are vocoded, `(T,)`.
        sample_rate: Its rate, Hz.
        device: Where to run.
    """

    def __init__(self, name: str, recording: Tensor, sample_rate: int, device: torch.device) -> None:
        self.name, self.device = Path(name).name, device
        self.model = _model(name).to(device).eval()
        self.gmac, self.gmac_folded = count_gmac(self.model), folded_gmac(self.model)
        config = self.model.mel_config
        audio = resample(recording, sample_rate, config.sample_rate)
        self._spoken = MelSpectrogram(config)(audio[None])[0].to(device)
        self._exact: tuple[Tensor, Tensor, Tensor] | None = None

    def mel(self, batch: int, seconds: float) -> Tensor:
        """Mels of that recording over and over, each item from elsewhere in it."""
        config = self.model.mel_config
        n_frames = max(1, round(seconds * config.sample_rate / config.hop_length))
        repeated = self._spoken.repeat(1, -(-n_frames // self._spoken.shape[1]))
        return torch.stack([repeated.roll(-29 * b, dims=1)[:, :n_frames] for b in range(batch)])

    @torch.no_grad()
    def subject(self, backend: str, dtype: str) -> Subject:
        """The model by a backend.

        Raises:
            ValueError: As `inverse_by`.
            RuntimeError: As `inverse_by`.
        """
        vocoder = Vocoder(self.model, device=self.device, dtype=getattr(torch, dtype), backend=backend)
        latent, mel, exact = self._truth()
        return Subject(
            model=self.name,
            backend=backend,
            dtype=dtype,
            frame_seconds=vocoder.config.mel.hop_length / vocoder.sample_rate,
            mel=self.mel,
            call=lambda mel: vocoder(mel, seed=0),
            gmac=self.gmac,
            gmac_folded=self.gmac_folded,
            decibels=signal_to_error(vocoder.decode(latent, mel), exact).item(),
        )

    def _truth(self) -> tuple[Tensor, Tensor, Tensor]:
        """Latent, mel, and the audio that the model makes of them in float64."""
        if self._exact is None:
            mel = self.mel(1, PARITY_SECONDS)
            n_samples = mel.shape[-1] * self.model.mel_config.hop_length
            latent = self.model.config.sigma * batch_normal([0], 0, n_samples, device=self.device)
            exact = copy.deepcopy(self.model).double().inverse(latent.double(), MelContext(mel.double()))
            self._exact = latent, mel, exact
        return self._exact


def peer(name: str, dtype: str, device: torch.device) -> Subject:
    """A vocoder of another package, at random weights.

    Raises:
        ImportError: The package is not installed.
    """
    torch.manual_seed(0)
    network, n_mels, sample_rate, hop_length = PEERS[name]()
    network = network.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
    drawn = torch.Generator().manual_seed(0)

    def mel(batch: int, seconds: float) -> Tensor:
        n_frames = max(1, round(seconds * sample_rate / hop_length))
        return (2 * torch.randn(batch, n_mels, n_frames, generator=drawn) - 5).to(device)

    @torch.no_grad()
    def call(mel: Tensor) -> Tensor:
        return network(mel.to(getattr(torch, dtype)))

    with FlopCounterMode(display=False) as counter:
        call(mel(1, 1.0))
    gmac = counter.get_total_flops() / 2e9
    return Subject(name, "pytorch", dtype, hop_length / sample_rate, mel, call, gmac, gmac, None)


def made_up_vowels(seconds: float = 4.0, sample_rate: int = 22050) -> tuple[Tensor, int]:
    """Audio whose mel lies where those of speech do, for machines without recordings: gliding vowels in quiet noise."""
    t = torch.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 2 * torch.pi * (120 * t + 12 * torch.sin(2.5 * t))
    harmonics = [torch.sin(k * pitch) * (1 + torch.sin(3 * t + k)) / k for k in range(1, 40)]
    noise = torch.randn(t.shape, generator=torch.Generator().manual_seed(0))
    syllables = torch.sin(2 * torch.pi * 1.5 * t).clamp_min(0)
    return 0.1 * syllables * torch.stack(harmonics).sum(0) + 1e-3 * noise, sample_rate


def with_random_weights(name: str, **config: Any) -> MelFlow:
    """A model of the registry with random weights that use everything: a fresh coupling would be the identity.

    Raises:
        ValueError: As `waveflow.models.build`.
    """
    torch.manual_seed(0)
    model = build(name, **config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def _model(name: str) -> MelFlow:
    """The named model; without weights of its own it gets random ones."""
    if name in bundled_models():
        return native.load(find_checkpoint(name))
    try:
        return with_random_weights(name)
    except ValueError as unknown:
        try:
            return native.load(find_checkpoint(name))
        except ValueError:
            raise unknown from None
