"""Random arguments of a WaveNet layer, as the packed model gives them, and what plain convolutions make of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.ops.wavenet_layer import packing, wavenet_first, wavenet_layer

NAN = float("nan")


@dataclass
class Layer:
    """A layer's sizes; `run` gives what a backend makes of it, `convolve` what PyTorch's convolution does."""

    batch: int = 2
    n_frames: int = 9
    n_positions: int = 4
    n_channels: int = 16
    n_features: int = 20
    n_out: int = 6
    half: int = 3
    dilation: int = 2
    taps: int = 3
    lengths: tuple[int, ...] = ()
    last: bool = False
    begins: bool = True
    folded: bool = False
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        c, p = self.n_channels, self.n_positions
        self.n_vectors = self.n_frames * p
        self.lengths = self.lengths or (self.n_vectors, self.n_vectors - 5)[: self.batch]
        self.conv = torch.randn(2 * c, c, self.taps) / (c * self.taps) ** 0.5
        self.told = torch.randn(p, 2 * c, self.n_features) / self.n_features**0.5
        self.gate_bias = torch.randn(p, 2 * c)
        self.mix, self.mix_bias = torch.randn(c, c) / c**0.5, torch.randn(c)
        self.end, self.end_bias = torch.randn(self.n_out, c) / c**0.5, torch.randn(self.n_out)
        self.start, self.start_bias = torch.randn(c, self.half), torch.randn(c)
        self.latent = torch.randn(self.batch, self.n_vectors, 2 * self.half)
        self.features = torch.randn(self.batch, self.n_frames, self.n_features).to(self.dtype)
        self.h = torch.randn(self.batch, self.n_vectors, c).to(self.dtype)
        self.begun = torch.randn(self.batch, self.n_vectors, self.n_out)

    def inside(self) -> Tensor:
        return (torch.arange(self.n_vectors) < torch.tensor(self.lengths)[:, None])[..., None]

    def run(self, backend: str, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """The next hidden state `(B, L, C)` and the output `(B, L, N)`, on the CPU; unwritten numbers are NaN."""
        c, p = self.n_channels, self.n_positions
        width = packing.features_width(self.n_features, c, self.dtype)
        told = F.pad(self.told, (0, width - self.n_features))
        hidden = torch.zeros(self.batch, self.n_frames, p * c + width, dtype=self.dtype)
        hidden[..., p * c : p * c + self.n_features] = self.features
        if self.folded:
            hidden[..., : p * c] = NAN
        else:
            hidden[..., : p * c] = torch.where(self.inside(), self.h, 0).view(self.batch, self.n_frames, -1)
        hidden_out = torch.full_like(hidden, NAN)
        out = torch.full_like(self.begun, NAN) if self.begins else self.begun.clone()
        gate = packing.pack_told(told, self.dtype) if self.folded else packing.pack_gate(self.conv, told, self.dtype)
        arguments = [
            gate,
            packing.pack_bias(self.gate_bias, self.dtype),
            None if self.last else packing.pack_after(self.mix, self.dtype),
            None if self.last else self.mix_bias,
            packing.pack_after(self.end, self.dtype),
            self.end_bias if self.begins else None,
            torch.tensor(self.lengths, dtype=torch.int32),
            hidden_out,
            out,
        ]
        arguments = [None if x is None else x.to(device) for x in arguments]
        hidden_out, out = arguments[-2:]
        if self.folded:
            first = packing.pack_first(self.start, self.start_bias, self.conv, self.dtype)
            first = [x.to(device) for x in (self.latent, hidden, *first)]
            wavenet_first(*first, *arguments, self.taps, self.dilation, backend)
        else:
            wavenet_layer(hidden.to(device), *arguments, c, self.dilation, backend)
        state = hidden_out[..., : p * c].reshape(self.batch, self.n_vectors, c)
        return state.float().cpu(), out.cpu()

    def convolve(self) -> tuple[Tensor, Tensor]:
        """As `run`, in float64, with unrounded weights."""
        inside = self.inside()
        h = self.latent[..., : self.half].double() @ self.start.double().mT + self.start_bias
        h = torch.where(inside, h if self.folded else self.h.double(), 0)
        reach = self.dilation * (self.taps // 2)
        gate = F.conv1d(h.mT, self.conv.double(), dilation=self.dilation, padding=reach).mT
        told = torch.einsum("bfk,pok->bfpo", self.features.double(), self.told.double()) + self.gate_bias
        a, b = (gate + told.flatten(1, 2)).chunk(2, dim=2)
        gated = torch.tanh(a) * torch.sigmoid(b)
        out = gated @ self.end.double().mT
        out = torch.where(inside, out + self.end_bias, 0) if self.begins else self.begun + inside * out
        return inside * (h + gated @ self.mix.double().mT + self.mix_bias), out
