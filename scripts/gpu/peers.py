"""Other vocoders at random weights, for their speed: it does not depend on the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def hifigan_v1() -> nn.Module:
    """HiFi-GAN V1 (arXiv:2010.05646) as `transformers` has it, for 80 mels and a hop of 256."""
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
    generator = SpeechT5HifiGan(config).eval()
    # Releases of transformers before 5 build it with weight norms, which would be computed in every call.
    if any("weight_g" in name or "parametrizations" in name for name, _ in generator.named_parameters()):
        generator.remove_weight_norm()
    return _Transposed(generator)


class _Transposed(nn.Module):
    """Takes the mel as `(B, n_mels, F)`."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor) -> Tensor:
        return self.generator(mel.mT)


class Vocos(nn.Module):
    """A network of the published size of Vocos (arXiv:2306.00814): 8 ConvNeXt blocks of 512 channels, then an inverse
    STFT, which is computed in float32.
    """

    def __init__(self, n_mels: int = 80, width: int = 512, inner: int = 1536, n_blocks: int = 8) -> None:
        super().__init__()
        self.n_fft, self.hop_length = 1024, 256
        self.embed = nn.Conv1d(n_mels, width, 7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(_Block(width, inner) for _ in range(n_blocks))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, self.n_fft + 2)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.norm(self.embed(mel).mT)
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.head(self.last_norm(x)).mT.float().chunk(2, dim=1)
        spectrum = torch.polar(log_magnitude.exp().clamp(max=100.0), phase)
        return torch.istft(spectrum, self.n_fft, self.hop_length, window=self.window.float())


class _Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.full((width,), 1 / 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x.mT).mT)
        return x + self.scale * self.narrow(nn.functional.gelu(self.widen(y)))


def vocos() -> nn.Module:
    return Vocos().eval()


PEERS = {"hifigan-v1": hifigan_v1, "vocos-like": vocos}
