"""A folded flow's weights as the CPU's matrix products take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.inference.cpu.kernels import POINTS
from waveflow.inference.cpu.toom_cook import toom_cook
from waveflow.inference.folding import FoldedFlow, FoldedLayer, FoldedStep

# Where x_a has at most this share of the hidden state's channels, the first layer's taps see x_a itself.
NARROW_SHARE = 1 / 8


@dataclass(frozen=True)
class CpuLayer:
    """One layer.

    Attributes:
        dilation: Positions between taps.
        taps: At the `POINTS`, `(6, C, 2C)`; of as many rows as `latent_width` where the layer sees x_a.
        told: What a frame's features say at each of its positions, `(K, P * 2C)`.
        bias: float32 `(P, 2C)`.
        after: The residual connection and the layer's share of the output, `(C, C + N)`; `(C, N)` in the last.
        mix_bias: float32 `(C,)`; empty in the last.
    """

    dilation: int
    taps: Tensor
    told: Tensor
    bias: np.ndarray
    after: Tensor
    mix_bias: np.ndarray


@dataclass(frozen=True)
class CpuStep:
    """One step of the inverse; float32, letters as in `FoldedStep`.

    Attributes:
        start: `(half, C)`.
        start_bias: `(C,)`.
        layers: In order; the first sees x_a where `narrow`.
        narrow: Whether it does.
        end_bias: `(N,)`.
        bound: Of log_s, 0 for none.
        passes: First column of x_a.
        changes: First column of x_b.
        mix: `(N, N)`, applied from the right.
        early: Channels that join after this step.
    """

    start: Tensor
    start_bias: Tensor
    layers: tuple[CpuLayer, ...]
    narrow: bool
    end_bias: Tensor
    bound: np.float32
    passes: int
    changes: int
    mix: Tensor
    early: int


class CpuPacking:
    """Packs the steps of a folded flow.

    A frame's features enter less `centre`, about which log-mels lie, so that less is lost when they are rounded.

    Args:
        folded: The flow.
        centre: What is taken off the features.
        dtype: Of the operands of the large products.
    """

    def __init__(self, folded: FoldedFlow, centre: float, dtype: torch.dtype) -> None:
        self.centre, self.dtype, self.n_positions = centre, dtype, len(folded.upsampling)
        # By features, positions and channels: one matrix product then gives a layer's weights as they lie in memory.
        self._upsampling = folded.upsampling.permute(2, 0, 1).contiguous()
        self._offset = centre * folded.upsampling.sum(2)
        self._taps = torch.from_numpy(toom_cook(4, 3, POINTS).taps)

    def spoken(self, features: Tensor) -> Tensor:
        """Features `(F, K)` as the products of conditioning take them."""
        return (features - self.centre).to(self.dtype)

    def step(self, step: FoldedStep) -> CpuStep:
        """Pack one step."""
        n_channels, half = step.start.shape
        narrow = 1 + half <= NARROW_SHARE * n_channels
        layers = [self._layer(layer, step, narrow and i == 0) for i, layer in enumerate(step.layers)]
        return CpuStep(
            start=step.start.T.contiguous(),
            start_bias=step.start_bias.clone(),
            layers=tuple(layers),
            narrow=narrow,
            end_bias=step.end_bias.clone(),
            bound=np.float32(step.max_log_s or 0),
            passes=half if step.swap else 0,
            changes=0 if step.swap else half,
            mix=step.mix.T.contiguous(),
            early=step.early,
        )

    def _layer(self, layer: FoldedLayer, step: FoldedStep, sees_latent: bool) -> CpuLayer:
        taps = layer.taps
        if sees_latent:
            taps = taps @ torch.cat([step.start_bias[:, None], step.start], dim=1)
            taps = F.pad(taps, (0, latent_width(step.start.shape[1]) - taps.shape[2]))
        taps = torch.einsum("kj,joc->kco", self._taps.to(taps.dtype), taps)
        told = (self._upsampling.flatten(0, 1) @ layer.context.T).view(len(self._upsampling), -1)
        mix = [] if layer.mix is None else [layer.mix]
        after = torch.cat([*mix, layer.end]).T
        return CpuLayer(
            dilation=layer.dilation,
            taps=taps.to(self.dtype).contiguous(),
            told=told.to(self.dtype).contiguous(),
            bias=(layer.bias + self._offset @ layer.context.T).numpy(),
            after=F.pad(after, (0, -after.shape[1] % 16)).to(self.dtype).contiguous(),
            mix_bias=layer.bias[:0].numpy() if layer.mix_bias is None else layer.mix_bias.clone().numpy(),
        )


def latent_width(half: int) -> int:
    """Columns of what the first layer sees instead of the hidden state: ones, x_a, and zeros up to a multiple of 8."""
    return -(-(1 + half) // 8) * 8
