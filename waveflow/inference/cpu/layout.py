"""A folded flow's weights as the compiled inverse of a CPU takes them: two flat arrays, and where in them what lies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.bijections import LappedSqueeze
from waveflow.inference.cpu.arrays import LAYER, STEP, TAIL
from waveflow.inference.cpu.code import LANES
from waveflow.inference.cpu.kernels import POINTS, as_array
from waveflow.inference.cpu.products import PANEL, ROWS, pack, packed_size
from waveflow.inference.cpu.toom_cook import toom_cook
from waveflow.inference.folding import FoldedFlow, FoldedLayer, FoldedStep

# Where x_a has at most this share of the hidden state's channels, the first layer's taps see x_a itself.
NARROW_SHARE = 3 / 4


class CpuLayout:
    """The weights of a folded flow.

    Channels are filled up with zeros to half a panel; the columns of a gate's weights come panel by panel, in each
    those of the a's and then those of the b's.

    Attributes:
        weights: Operands.
        floats: float32; zeros come first.
        steps, layers, tail: Records of `STEP`, `LAYER` and `TAIL`; `tail` is empty where the last latent is the audio.
        channels: C, filled up.
        features: K, filled up to a pair.
        seen: Columns of what a narrow first layer sees, 1 where none is.
        width: Columns of the latents.
        y_width: Columns of a step's output.
    """

    def __init__(self, folded: FoldedFlow, squeeze: nn.Module, centre: float, dtype: torch.dtype) -> None:
        self.centre, self.dtype, self.n_positions = centre, dtype, len(folded.upsampling)
        half_panel = PANEL // 2
        self.n_channels = len(folded.steps[0].start)
        self.channels = _filled(self.n_channels, half_panel)
        self.n_features = folded.upsampling.shape[2]
        self.features = _filled(self.n_features, 2)
        self.width = max(_filled(len(step.mix), LANES) + step.early for step in folded.steps)
        self.y_width = max(_filled(len(step.mix), LANES) for step in folded.steps)
        self.seen = max([1, *(_seen(step) for step in folded.steps if _narrow(step))])
        # By features, positions and channels: one matrix product then gives a layer's weights.
        self._upsampling = folded.upsampling.permute(2, 0, 1).contiguous()
        self._offset = centre * folded.upsampling.sum(2)
        self._taps = torch.from_numpy(toom_cook(4, 3, POINTS).taps)
        self._weights = _Store(self._n_operands(folded), dtype)
        self._floats = [torch.zeros(max(2 * self.channels, self.y_width, self.width, PANEL), dtype=torch.float32)]
        self._n_floats = len(self._floats[0])
        layers: list[tuple[int, ...]] = []
        steps = [self._step(step, layers) for step in folded.steps]
        self.steps, self.layers = np.array(steps, STEP), np.array(layers, LAYER)
        self.tail = np.zeros(0, TAIL) if folded.gain is None else self._tail(folded.gain, squeeze)
        self.weights = as_array(self._weights.tensor)
        self.floats = torch.cat(self._floats).numpy()
        del self._upsampling, self._floats

    def spoken(self, features: Tensor) -> Tensor:
        """Features `(F, K)` as operands, less the centre; rows for whole tiles follow."""
        centred = features - self.centre
        spoken = torch.zeros(len(features) + ROWS, self.features, dtype=self.dtype)
        spoken[: len(features), : features.shape[1]] = centred
        return spoken

    def _n_operands(self, folded: FoldedFlow) -> int:
        c, total = self.channels, 0
        for step in folded.steps:
            for i, layer in enumerate(step.layers):
                seen = self.seen if i == 0 and _narrow(step) else c
                total += 6 * packed_size(seen, 2 * c) + self.n_positions * packed_size(self.features, 2 * c)
                total += packed_size(c, self.y_width) + (0 if layer.mix is None else packed_size(c, c))
        return total

    def _step(self, step: FoldedStep, layers: list[tuple[int, ...]]) -> tuple[Any, ...]:
        c, half, first = self.channels, step.start.shape[1], len(layers)
        for i, layer in enumerate(step.layers):
            layers.append(self._layer(layer, step, i == 0))
        return (
            self._float(pack(_columns(step.start.T, c), torch.float32)),
            self._float(_columns(step.start_bias, c)),
            self._float(pack(step.mix.T, torch.float32)),
            half,
            half if step.swap else 0,
            0 if step.swap else half,
            step.early,
            first,
            len(layers),
            step.max_log_s or 0,
        )

    def _layer(self, layer: FoldedLayer, step: FoldedStep, first: bool) -> tuple[int, ...]:
        taps, seen = layer.taps, self.channels
        if first and _narrow(step):
            taps, seen = taps @ torch.cat([step.start_bias[:, None], step.start], dim=1), self.seen
        at_points = torch.einsum("kj,joc->kco", self._taps.to(taps.dtype), F.pad(taps, (0, seen - taps.shape[2])))
        told = (self._upsampling.flatten(0, 1) @ layer.context.T).view(len(self._upsampling), self.n_positions, -1)
        told = F.pad(told, (0, 0, 0, 0, 0, self.features - self.n_features))
        bias = layer.bias + self._offset @ layer.context.T
        put = self._weights.put
        return (
            layer.dilation,
            seen,
            put(pack(self._gate_columns(x), self.dtype) for x in at_points),
            put(pack(self._gate_columns(x), self.dtype) for x in told.unbind(1)),
            self._float(self._gate_columns(bias).flatten()),
            -1 if layer.mix is None else put([self._after(_columns(layer.mix.T, self.channels))]),
            0 if layer.mix_bias is None else self._float(_columns(layer.mix_bias, self.channels)),
            put([self._after(_columns(layer.end.T, self.y_width))]),
            self._float(_columns(step.end_bias, self.y_width)) if first else 0,
        )

    def _tail(self, gain: tuple[Tensor, Tensor], squeeze: nn.Module) -> np.ndarray:
        weight, bias = gain
        assert isinstance(squeeze, LappedSqueeze)
        tail = (
            self._float(pack(weight.T, torch.float32)),
            self._float(_columns(bias, _filled(len(bias), LANES))),
            weight.shape[1],
            self._float(pack(squeeze.dct, torch.float32)),
            self._float(squeeze.cos),
            self._float(squeeze.sin),
            squeeze.overlap,
        )
        return np.array([tail], TAIL)

    def _gate_columns(self, x: Tensor) -> Tensor:
        """Columns of the a's and the b's, `(..., 2C)`, panel by panel."""
        a, b = (_columns(side, self.channels).unflatten(-1, (-1, PANEL // 2)) for side in x.chunk(2, dim=-1))
        return torch.stack([a, b], dim=-2).flatten(-3)

    def _after(self, x: Tensor) -> Tensor:
        return pack(F.pad(x, (0, 0, 0, self.channels - len(x))), self.dtype)

    def _float(self, x: Tensor) -> int:
        """Where these numbers lie among the float32."""
        at, x = self._n_floats, x.float().flatten()
        self._floats.append(x)
        self._n_floats += len(x)
        return at


class _Store:
    """One array, filled piece by piece: two copies of a large model's weights would not fit."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.tensor, self._used = torch.empty(size, dtype=dtype), 0

    def put(self, pieces: Iterable[Tensor]) -> int:
        """Where the first of these, one after another, begins."""
        at = self._used
        for piece in pieces:
            self.tensor[self._used : self._used + len(piece)] = piece
            self._used += len(piece)
        assert self._used <= len(self.tensor)
        return at


def _filled(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _columns(x: Tensor, n: int) -> Tensor:
    return F.pad(x, (0, n - x.shape[-1]))


def _narrow(step: FoldedStep) -> bool:
    n_channels, half = step.start.shape
    return 1 + half <= NARROW_SHARE * n_channels


def _seen(step: FoldedStep) -> int:
    """Columns of what the first layer sees instead of the hidden state: ones, x_a, and zeros up to a pair."""
    return _filled(1 + step.start.shape[1], 2)
