"""Vocoders of other packages at random weights, which do not change their speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn


class Peer(NamedTuple):
    """A vocoder that takes a mel `(B, n_mels, F)` and gives `F * hop_length` samples, more or less."""

    network: nn.Module
    n_mels: int
    sample_rate: int
    hop_length: int


def hifigan_v1() -> Peer:
    """HiFi-GAN V1 (arXiv:2010.05646) as `transformers` has it."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=80,
        sampling_rate=22050,
        upsample_initial_channel=512,
        upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4],
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        normalize_before=False,
    )
    generator = SpeechT5HifiGan(config)
    # Older releases build it with weight norms, which would be worked out in every call.
    if any("weight_g" in name or "parametrizations" in name for name, _ in generator.named_parameters()):
        generator.remove_weight_norm()
    return Peer(_FramesFirst(generator), 80, 22050, 256)


def vocos() -> Peer:
    """Vocos (arXiv:2306.00814) at its published size for mels, 24 kHz, from the package of that name."""
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    backbone = VocosBackbone(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8)
    head = ISTFTHead(dim=512, n_fft=1024, hop_length=256, padding="center")
    return Peer(nn.Sequential(backbone, head), 100, 24000, 256)


class _FramesFirst(nn.Module):
    """Takes the mel as `(B, n_mels, F)` for a network that wants `(B, F, n_mels)`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, mel: Tensor) -> Tensor:
        return self.network(mel.mT)


PEERS: dict[str, Callable[[], Peer]] = {"hifigan-v1": hifigan_v1, "vocos": vocos}
