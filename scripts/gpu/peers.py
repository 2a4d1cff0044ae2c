"""Other vocoders at random weights, for their speed: it does not depend on the weights.

The GPU machine may lack the package of Vocos, hence a network of its size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.inference.benchmark import peers


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


PEERS = {"hifigan-v1": lambda: peers.hifigan_v1().network.eval(), "vocos-like": lambda: Vocos().eval()}
