"""A packed flow's inverse on planned buffers, by the operations of `waveflow.ops`."""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from waveflow.inference.packed import PackedFlow, PackedStep
from waveflow.models.base import MelContext, hold_last_frame
from waveflow.ops.coupling_inverse import coupling_inverse
from waveflow.ops.lapped_inverse import lapped_inverse
from waveflow.ops.wavenet_layer import wavenet_first, wavenet_layer

# Seconds that a launch takes the CPU, and products that the kernels make a second: up to the length at which both take
# the same time a graph replays the launches.
LAUNCH, PRODUCTS = 5e-5, 2e14
# Plans that are kept, and frames of all of them together.
MAX_PLANS, MAX_FRAMES = 8, 1 << 16


class PlannedInverse:
    """Latent and mel to audio, as `MelFlow.inverse` of the model that was packed.

    The buffers of a batch size and length are allocated once and kept for the next call; threads take turns. On a CUDA
    device short utterances are recorded as a graph, their lengths rounded up so that few graphs serve all.

    Args:
        flow: What `pack` made.
        backend: One of `waveflow.ops.BACKENDS`.
        graphs: Whether to record graphs.
    """

    def __init__(self, flow: PackedFlow, backend: str, *, graphs: bool = True) -> None:
        self.flow, self.backend = flow, backend
        self.graphs = graphs and flow.order.device.type == "cuda" and backend != "reference"
        self.graph_frames = _graph_frames(flow)
        self._plans: OrderedDict[tuple[int, int], _Plan] = OrderedDict()
        self._buffers = threading.Lock()

    def __call__(self, latent: Tensor, context: Tensor | MelContext) -> Tensor:
        """Map latent `(B, T)` to audio `(B, T)`, zero beyond each length, both float32.

        Args:
            latent: T a multiple of n_group.
            context: The mel `(B, n_mels, F)` with `F * hop_length >= T`, or a `MelContext`.
        """
        mel, lengths = context if isinstance(context, MelContext) else MelContext(context)
        batch, n_samples = latent.shape
        n_vectors = n_samples // self.flow.n_group
        n_frames = -(-n_vectors // self.flow.n_positions)
        ends = n_vectors if lengths is None else (lengths // self.flow.n_group).clamp(0, n_vectors)
        small = self.graphs and batch * n_frames <= self.graph_frames
        with self._buffers:
            plan = self._plan(batch, _rounded(n_frames) if small else n_frames, small)
            plan.load(latent.view(batch, n_vectors, -1), mel[..., :n_frames], ends)
            return plan.run()[:, :n_samples].clone()

    def _plan(self, batch: int, n_frames: int, graph: bool) -> _Plan:
        key = (batch, n_frames)
        if key not in self._plans:
            while self._plans and (not graph or self._crowded(batch * n_frames)):
                self._plans.popitem(last=False)
            self._plans[key] = _Plan(self.flow, self.backend, batch, n_frames, graph)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _crowded(self, more: int) -> bool:
        """Whether the plans leave no room for one of so many frames."""
        kept = sum(batch * n_frames for batch, n_frames in self._plans)
        return len(self._plans) >= MAX_PLANS or kept + more > MAX_FRAMES


class _Plan:
    """The buffers for one batch size and number of frames, and the graph of what is done with them."""

    def __init__(self, flow: PackedFlow, backend: str, batch: int, n_frames: int, graph: bool) -> None:
        self.flow, self.backend, self.n_frames = flow, backend, n_frames
        self.launch = _one_launch(flow, batch, n_frames) if backend == "cuda" else None
        device, n_vectors = flow.order.device, n_frames * flow.n_positions
        row = flow.n_positions * flow.n_channels + flow.n_features
        shape = (batch, n_vectors)
        if self.launch is None:
            size = batch * n_vectors * flow.n_group
            self.hidden = [torch.zeros(batch, n_frames, row, dtype=flow.dtype, device=device) for _ in range(2)]
            self.scratch = [torch.zeros(size, dtype=flow.wide, device=device) for _ in range(3)]
        self.latent = torch.zeros(*shape, flow.n_group, dtype=flow.wide, device=device)
        self.mel = torch.zeros(batch, flow.n_mels, n_frames, dtype=flow.wide, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int32, device=device)
        self.shape = shape
        self.recorded: tuple[torch.cuda.CUDAGraph, Tensor] | None = None
        if graph and self.launch is None:
            self._record()

    def load(self, latent: Tensor, mel: Tensor, lengths: Tensor | int) -> None:
        # What an earlier call left beyond is not seen: the mel is held, the latent cut at each item's length.
        self.latent[:, : latent.shape[1]].copy_(latent)
        self.mel[..., : mel.shape[-1]].copy_(mel)
        self.lengths[:] = lengths

    def run(self) -> Tensor:
        """Audio `(B, F * hop_length)` of what was loaded; the next run may overwrite it."""
        if self.launch is not None:
            return self.launch(self.latent, self._features(), self.lengths)
        if self.recorded is None:
            return self._inverse()
        graph, audio = self.recorded
        graph.replay()
        return audio

    def _record(self) -> None:
        # The first runs compile the kernels, which a graph cannot record.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._inverse()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            audio = self._inverse()
        self.recorded = graph, audio

    def _features(self) -> Tensor:
        return self.flow.features(hold_last_frame(self.mel, -(-self.lengths // self.flow.n_positions)))

    def _inverse(self) -> Tensor:
        flow = self.flow
        told = flow.n_positions * flow.n_channels
        features = self._features()
        for hidden in self.hidden:
            hidden[..., told:].copy_(features)
        latent = self.latent.index_select(2, flow.order)
        if flow.start is not None:
            self._start(latent, *flow.start)
        n_left = flow.n_group - len(flow.order)
        for i, step in enumerate(flow.steps):
            early = self.latent[..., n_left - step.n_early : n_left] if step.n_early else None
            n_left -= step.n_early
            latent = self._step(step, latent, early, self.scratch[i % 2])
        if flow.tail is None:
            return latent.flatten(1)
        tail = flow.tail
        told_width = tail.gain_weight.shape[1]
        log_gain = features[..., :told_width] @ tail.gain_weight.mT + tail.gain_bias
        return lapped_inverse(latent, log_gain, self.lengths, tail.dct, tail.cos, tail.sin, self.backend)

    def _start(self, latent: Tensor, weight: Tensor, bias: Tensor) -> None:
        hidden = latent[..., : weight.shape[1]] @ weight.mT + bias
        inside = torch.arange(self.shape[1], device=latent.device) < self.lengths[:, None]
        hidden = torch.where(inside[..., None], hidden, 0)
        state = self.hidden[0][..., : self.flow.n_positions * self.flow.n_channels]
        state.copy_(hidden.view(state.shape))

    def _step(self, step: PackedStep, latent: Tensor, early: Tensor | None, scratch: Tensor) -> Tensor:
        flow = self.flow
        source, target = self.hidden
        out = self._view(self.scratch[2], step.n)
        for layer in step.layers:
            weights = (
                layer.gate_weight,
                layer.gate_bias,
                layer.mix_weight,
                layer.mix_bias,
                layer.end_weight,
                layer.end_bias,
            )
            buffers = (self.lengths, target, out)
            if layer.first_weight is None:
                wavenet_layer(source, *weights, *buffers, flow.n_channels, layer.dilation, self.backend)
            else:
                first = (latent, source, layer.first_weight, layer.start_weight)
                wavenet_first(*first, *weights, *buffers, flow.kernel_size, layer.dilation, self.backend)
            if layer.mix_weight is not None:
                source, target = target, source
        result = self._view(scratch, step.n + step.n_early)
        starts = step.hidden_bias is not None
        coupling_inverse(
            latent,
            out,
            early,
            step.matrix,
            step.hidden_bias,
            self.lengths,
            result,
            source if starts else None,
            step.max_log_s,
            self.backend,
        )
        self.hidden = [source, target]
        return result

    def _view(self, scratch: Tensor, width: int) -> Tensor:
        return scratch[: self.shape[0] * self.shape[1] * width].view(*self.shape, width)


def _one_launch(flow: PackedFlow, batch: int, n_frames: int) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """The CUDA extension's kernel of the whole inverse, for short stretches of the models it knows."""
    lapglow = importlib.import_module("waveflow_cuda.lapglow")
    short = batch * n_frames <= lapglow.MOST_FRAMES and flow.dtype != torch.float32
    return lapglow.OneLaunch(flow, batch, n_frames) if short and lapglow.serves(flow) else None


def _graph_frames(flow: PackedFlow) -> int:
    """Frames of all items together up to which launching the kernels takes longer than running them."""
    n_layers = sum(len(step.layers) for step in flow.steps)
    inputs = flow.kernel_size * flow.n_channels + flow.n_features
    products = n_layers * flow.n_positions * 2 * flow.n_channels * inputs
    return int(LAUNCH * (n_layers + len(flow.steps)) * PRODUCTS / products)


def _rounded(n_frames: int) -> int:
    """The length of the graph that serves this many frames: at most a quarter or 16 frames more."""
    step = max(16, 1 << max(0, n_frames.bit_length() - 3))
    return -(-n_frames // step) * step
