"""The conditioners of couplings, a stretch of time after another: each layer keeps the past rows that it reaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.inference.streaming.memory import Memory, Part, Queue, Surroundings
from waveflow.nn import WaveNet
from waveflow.nn.modules import bias_of
from waveflow.nn.scaled_wavenet import ContextHalves, ScaledWaveNet
from waveflow.nn.separable import FoldedSeparableConv, SeparableConv, SeparableWaveNet


class StreamedNet(Part):
    """A conditioner without weight norm, told `(L, C)` and features `(L, K)` piece by piece.

    Attributes:
        delay: Rows by which its output lags behind its input.
    """

    delay: int

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Tensor:
        """The rows of the output that are certain now; `end` says that no more input comes."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class StreamedConv(Part):
    """A dilated convolution of a sequence, zeros beyond both ends."""

    def __init__(self, conv: nn.Conv1d) -> None:
        self.dilation, self.taps = conv.dilation[0], conv.kernel_size[0]
        self.weight, self.bias = conv.weight.permute(0, 2, 1).flatten(1).contiguous(), conv.bias
        self.surroundings = Surroundings(self.dilation * (self.taps // 2))

    @property
    def delay(self) -> int:
        """Rows on each side that it sees."""
        return self.surroundings.reach

    def __call__(self, memory: Memory, x: Tensor, end: bool) -> tuple[Tensor, Tensor]:
        """The convolution at the next rows, and these rows themselves."""
        seen = self.surroundings(memory, x, end)
        n = len(seen) - 2 * self.delay
        taps = torch.cat([seen[i * self.dilation :][:n] for i in range(self.taps)], dim=1)
        return F.linear(taps, self.weight, self.bias), seen[self.delay :][:n]


class GatedLayers(Part):
    """The layers that `WaveNet` and `ScaledWaveNet` have in common, from the first hidden state to the skip sum.

    Args:
        net: Either of them.
        scale: What each residual sum is multiplied by.
    """

    def __init__(self, net: WaveNet | ScaledWaveNet, scale: float = 1.0) -> None:
        self.convs = [StreamedConv(conv) for conv in net.dilated]
        self.res_skips = [_dense(conv) for conv in net.res_skip]
        assert net.context is not None
        self.context, self.n_channels, self.scale = _dense(net.context), net.n_channels, scale
        self.told = [Queue() for _ in self.convs]
        self.skips = [Queue() for _ in self.convs]

    @property
    def delay(self) -> int:
        """That of all layers."""
        return sum(conv.delay for conv in self.convs)

    def __call__(self, memory: Memory, h: Tensor, told: Tensor, end: bool) -> Tensor:
        """Map the hidden state `(L, n_channels)` to the skip sum of the rows that are certain."""
        conditions = F.linear(told, *self.context).chunk(len(self.convs), dim=1)
        skip = None
        for conv, res_skip, condition, waiting, skipped in zip(
            self.convs, self.res_skips, conditions, self.told, self.skips
        ):
            gate, h = conv(memory, h, end)
            a, b = (gate + waiting.swap(memory, condition, len(gate))).chunk(2, dim=1)
            out = F.linear(torch.tanh(a) * torch.sigmoid(b), *res_skip)
            if out.shape[1] > self.n_channels:
                residual, out = out.chunk(2, dim=1)
                h = h + residual if self.scale == 1 else self.scale * (h + residual)
            skip = out if skip is None else skipped.swap(memory, skip, len(out)) + out
        assert skip is not None
        return skip


class StreamedWaveNet(StreamedNet):
    """WaveGlow's and LapGlow's conditioner."""

    def __init__(self, net: WaveNet) -> None:
        self.start, self.layers, self.end = _dense(net.start), GatedLayers(net), _dense(net.end)
        self.delay = self.layers.delay

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Tensor:
        return F.linear(self.layers(memory, F.linear(x, *self.start), told, end), *self.end)


class StreamedScaledWaveNet(StreamedNet):
    """FloWaveNet's conditioner, told some halves of the context's channels."""

    def __init__(self, halves: ContextHalves) -> None:
        net = halves.conditioner
        self.halves, self.start = halves.halves, StreamedConv(net.start)
        self.layers = GatedLayers(net, math.sqrt(0.5))
        self.middle, self.end = _dense(net.middle), _dense(net.end)
        self.gain = torch.exp(3 * net.gain)[:, 0]
        self.delay = self.start.delay + self.layers.delay

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Tensor:
        parts = told.chunk(2, dim=1)
        told = torch.cat([parts[half] for half in self.halves], dim=1)
        h, _ = self.start(memory, x, end)
        skip = torch.relu(self.layers(memory, torch.relu(h), told, end))
        return self.gain * F.linear(torch.relu(F.linear(skip, *self.middle)), *self.end)


class StreamedSeparable(Part):
    """A separable convolution. Rows carry a one, so that beyond both ends the normalisation's constant is left out."""

    share: Tensor | None
    offset: Tensor | None

    def __init__(self, layer: SeparableConv | FoldedSeparableConv) -> None:
        if isinstance(layer, FoldedSeparableConv):
            self.taps, self.share = layer.taps[:, 0].T, layer.share[:, 0].T
            self.offset, self.mix = None, (layer.weight[:, :, 0], layer.bias)
        else:
            self.taps, self.share = layer.depthwise.weight[:, 0].T, None
            self.offset, self.mix = layer.depthwise.bias, _dense(layer.pointwise)
        self.surroundings = Surroundings(len(self.taps) // 2)

    def __call__(self, memory: Memory, x: Tensor, end: bool) -> tuple[Tensor, Tensor]:
        """The convolution at the next rows, and these rows themselves."""
        seen = self.surroundings(memory, torch.cat([x, x.new_ones(len(x), 1)], dim=1), end)
        reach = self.surroundings.reach
        n, values, outside = len(seen) - 2 * reach, seen[:, :-1], 1 - seen[:, -1:]
        y = sum(values[k:][:n] * tap for k, tap in enumerate(self.taps))
        if self.share is not None:
            y = y - sum(outside[k:][:n] * share for k, share in enumerate(self.share))
        if self.offset is not None:
            y = y + self.offset
        return F.linear(y, *self.mix), values[reach:][:n]


class StreamedSeparableWaveNet(StreamedNet):
    """SqueezeWave's conditioner, told features at its own rate."""

    def __init__(self, net: SeparableWaveNet) -> None:
        self.start, self.context, self.end = _dense(net.start), _dense(net.context), _dense(net.end)
        self.separable = [StreamedSeparable(layer) for layer in net.separable]
        self.residual = [_dense(conv) for conv in net.residual]
        self.told = [Queue() for _ in self.separable]
        self.delay = net.receptive_field

    def __call__(self, memory: Memory, x: Tensor, told: Tensor, end: bool) -> Tensor:
        conditions = F.linear(told, *self.context).chunk(len(self.separable), dim=1)
        h = F.linear(x, *self.start)
        for separable, residual, condition, waiting in zip(self.separable, self.residual, conditions, self.told):
            gate, h = separable(memory, h, end)
            a, b = (gate + waiting.swap(memory, condition, len(gate))).chunk(2, dim=1)
            h = h + F.linear(torch.tanh(a) * torch.sigmoid(b), *residual)
        return F.linear(h, *self.end)


STREAMED: dict[type[nn.Module], Callable[[Any], StreamedNet]] = {
    WaveNet: StreamedWaveNet,
    ContextHalves: StreamedScaledWaveNet,
    SeparableWaveNet: StreamedSeparableWaveNet,
}


def _dense(conv: nn.Conv1d) -> tuple[Tensor, Tensor]:
    return conv.weight[:, :, 0].contiguous(), bias_of(conv)
