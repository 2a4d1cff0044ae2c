"""A trained flow's weights, folded and laid out for the kernels of `waveflow.ops`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.bijections import Bijection, LappedSqueeze
from waveflow.inference.folding import FoldedFlow, FoldedStep, fold
from waveflow.models import MelFlow
from waveflow.nn import FrameEncoder
from waveflow.ops.wavenet_layer.packing import (
    features_width,
    pack_after,
    pack_bias,
    pack_first,
    pack_gate,
    pack_told,
)

# Folding the hidden state's first map into the layer pays while the taps see fewer numbers than it has channels.
NARROW = 16


@dataclass
class PackedLayer:
    """The arguments of `wavenet_layer`, or of `wavenet_first` where `first_weight` is given."""

    gate_weight: Tensor
    gate_bias: Tensor
    mix_weight: Tensor | None
    mix_bias: Tensor | None
    end_weight: Tensor
    end_bias: Tensor | None
    dilation: int
    first_weight: Tensor | None = None
    start_weight: Tensor | None = None


@dataclass
class PackedStep:
    """One WaveNet, and the arguments of the `coupling_inverse` that follows it.

    n: Channels of its latent.
    n_early: Channels that join after it.
    """

    layers: list[PackedLayer]
    matrix: Tensor
    hidden_bias: Tensor | None
    max_log_s: float
    n: int
    n_early: int


@dataclass
class PackedTail:
    """The arguments of `lapped_inverse`, and the map of features that gives its gain."""

    gain_weight: Tensor
    gain_bias: Tensor
    dct: Tensor
    cos: Tensor
    sin: Tensor


@dataclass
class PackedFlow:
    """A whole inverse.

    Attributes:
        steps: In the order of the inverse.
        order: The channels of the latent that the first step sees, as an index.
        start: Weight `(C, half)` and bias of the first hidden state, where no layer has it folded in.
        tail: The inverse lapped transform, None where the last latent is the audio.
        n_group: Samples of a position.
        n_positions: Positions of a frame, P.
        n_channels: C.
        n_features: Columns of the features, K.
        kernel_size: Taps of each layer.
        folded: What was packed, without its weights: it knows a frame's neighbours.
        dtype: Of the operands.
        wide: Of all that is not an operand.
    """

    steps: list[PackedStep]
    order: Tensor
    start: tuple[Tensor, Tensor] | None
    tail: PackedTail | None
    n_group: int
    n_positions: int
    n_channels: int
    n_features: int
    kernel_size: int
    folded: FoldedFlow
    dtype: torch.dtype
    wide: torch.dtype

    @property
    def n_mels(self) -> int:
        """Bands of the mel."""
        return self.folded.n_mels

    def features(self, mel: Tensor) -> Tensor:
        """What is told of each frame of a mel `(B, n_mels, F)`: `(B, F, K)`."""
        features = self.folded.features(mel).to(self.wide)
        return F.pad(features, (0, self.n_features - features.shape[2]))


def pack(model: MelFlow, dtype: torch.dtype, device: torch.device | str | None = None) -> PackedFlow:
    """Fold a model and lay its weights out for the kernels. The result shares nothing with the model.

    Beyond what `fold` works out: the mel's upsampling and the conditioning projection become one map of a frame's
    features for each position; the order of the next coupling's halves is in the channel mixing; and so is, in wide
    models, the first map of the next WaveNet, which narrow ones have folded into its first layer.

    Args:
        model: A `WaveGlow` or `LapGlow`, fused or not.
        dtype: Of the operands; float64 is for the reference backend alone.
        device: Of the result; the model's unless given.

    Raises:
        ValueError: Another kind of model.
    """
    folded = fold(model)
    place = _Placement(torch.device(device or folded.upsampling.device), dtype)
    steps, following = folded.steps, (*folded.steps[1:], None)
    n_positions, _, n_features = folded.upsampling.shape
    n_channels, first = len(steps[0].start), steps[0]
    upsampling, encoder = place(folded.upsampling), place.encoder(folded.encoder)
    width = features_width(n_features, n_channels, dtype)
    with torch.no_grad():
        return PackedFlow(
            steps=[_step(*pair, upsampling, width, place) for pair in zip(steps, following)],
            order=(sum(step.early for step in steps) + _halves(first)).to(place.device),
            start=None if is_narrow(first) else (place(first.start), place(first.start_bias)),
            tail=None if folded.gain is None else _tail(folded.gain, model.flow.steps[0], place),
            n_group=model.n_group,
            n_positions=n_positions,
            n_channels=n_channels,
            n_features=width,
            kernel_size=len(first.layers[0].taps),
            folded=replace(folded, steps=(), upsampling=upsampling[:0], gain=None, encoder=encoder),
            dtype=dtype,
            wide=place.wide,
        )


class _Placement:
    """Copies tensors to a device, in the precision of what is no operand."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.wide = torch.promote_types(dtype, torch.float32)

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, self.wide, copy=True).contiguous()

    def encoder(self, encoder: FrameEncoder | None) -> FrameEncoder | None:
        if encoder is None:
            return None
        placed = copy.deepcopy(encoder).to(self.device, self.wide)
        if self.dtype.itemsize == 2 and self.device.type == "cuda":
            # No coarser than the operands of the kernels; the mel itself would be.
            centre, spread = placed.centre, placed.spread
            placed.half()
            placed.centre, placed.spread = centre, spread
        return placed


def _step(
    step: FoldedStep, following: FoldedStep | None, upsampling: Tensor, width: int, place: _Placement
) -> PackedStep:
    # The coupling leaves its halves in its own order: the columns of the mixing follow it.
    mix = step.mix.double().cpu()[:, _halves(step)]
    matrix = torch.block_diag(torch.eye(step.early, dtype=torch.float64), mix)
    hidden_bias = None
    if following is not None:
        matrix = matrix[_halves(following)]
        if not is_narrow(following):
            start = following.start.double().cpu()
            matrix = torch.cat([matrix, start @ matrix[: start.shape[1]]])
            hidden_bias = place(following.start_bias)
    return PackedStep(
        layers=_layers(step, upsampling, width, place),
        matrix=place(matrix),
        hidden_bias=hidden_bias,
        max_log_s=step.max_log_s or 0.0,
        n=len(step.mix),
        n_early=step.early,
    )


def _layers(step: FoldedStep, upsampling: Tensor, width: int, place: _Placement) -> list[PackedLayer]:
    dtype, packed = place.dtype, []
    for i, layer in enumerate(step.layers):
        told = torch.einsum("oc,pck->pok", place(layer.context), upsampling)
        told = F.pad(told, (0, width - told.shape[2]))
        conv = place(layer.taps).permute(1, 2, 0)
        first: tuple[Tensor, Tensor] | tuple[None, None] = None, None
        if i == 0 and is_narrow(step):
            first = pack_first(place(step.start), place(step.start_bias), conv, dtype)
        packed.append(
            PackedLayer(
                gate_weight=pack_gate(conv, told, dtype) if first[0] is None else pack_told(told, dtype),
                gate_bias=pack_bias(place(layer.bias).expand(len(told), -1), dtype),
                mix_weight=None if layer.mix is None else pack_after(place(layer.mix), dtype),
                mix_bias=None if layer.mix_bias is None else place(layer.mix_bias),
                end_weight=pack_after(place(layer.end), dtype),
                end_bias=None if i else place(step.end_bias),
                dilation=layer.dilation,
                first_weight=first[0],
                start_weight=first[1],
            )
        )
    return packed


def _tail(gain: tuple[Tensor, Tensor], squeeze: Bijection, place: _Placement) -> PackedTail:
    assert isinstance(squeeze, LappedSqueeze)
    lapped = copy.deepcopy(squeeze).to(place.wide)
    return PackedTail(*map(place, (*gain, lapped.dct, lapped.cos, lapped.sin)))


def _halves(step: FoldedStep) -> Tensor:
    """The channels of a step's latent, those first that its coupling lets pass."""
    order = torch.arange(len(step.mix))
    return order.roll(-len(order) // 2) if step.swap else order


def is_narrow(step: FoldedStep) -> bool:
    """Whether the map that makes a step's hidden state is folded into its first layer."""
    return step.start.shape[1] <= NARROW
