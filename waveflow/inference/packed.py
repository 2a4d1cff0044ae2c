"""A trained flow's weights, folded and laid out for the kernels of `waveflow.ops`."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.bijections import FixedLinear, InvertibleConv1x1
from waveflow.models import LapGlow, MelFlow, WaveGlow
from waveflow.nn import WaveNet
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
        before: Neighbours that belong to a frame's features.
        after: As `before`, on the other side.
        pad: What stands beyond the mel's ends, a mode of `torch.nn.functional.pad`.
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
    before: int
    after: int
    pad: str
    dtype: torch.dtype
    wide: torch.dtype

    def features(self, mel: Tensor) -> Tensor:
        """Each frame of a mel `(B, n_mels, F)` with its neighbours, earliest first: `(B, F, K)`."""
        padded = F.pad(mel, (self.before, self.after), mode=self.pad)
        n_frames = mel.shape[-1]
        stack = [padded[..., i : i + n_frames] for i in range(self.before + 1 + self.after)]
        features = torch.cat(stack, dim=1).mT
        return F.pad(features, (0, self.n_features - features.shape[2]))


def pack(model: MelFlow, dtype: torch.dtype, device: torch.device | str | None = None) -> PackedFlow:
    """Fold and lay out what a model's inverse needs. The result shares nothing with the model.

    Folded are: weight norms; the mel's upsampling with the conditioning projection, one map of a frame's features for
    each position; each skip connection with the network's last projection; in narrow models the hidden state's first
    map with the first layer, in wide ones with the channel mixing before it; the inverse of the channel mixing with
    the order of the next coupling's halves.

    Args:
        model: A `WaveGlow` or `LapGlow`, fused or not.
        dtype: Of the operands; float64 is for the reference backend alone.
        device: Of the result; the model's unless given.

    Raises:
        ValueError: Another kind of model.
    """
    if not isinstance(model, WaveGlow | LapGlow) or model.frames_ahead:
        raise ValueError(
            f"there are no kernels for {type(model).__name__}, only for WaveGlow and LapGlow; "
            "use the backend 'reference' or 'compile'"
        )
    with torch.no_grad():
        return _Packer(model, dtype, torch.device(device or _device(model))).flow()


class _Packer:
    def __init__(self, model: MelFlow, dtype: torch.dtype, device: torch.device) -> None:
        self.model, self.dtype, self.device = model, dtype, device
        self.wide = torch.promote_types(dtype, torch.float32)
        if isinstance(model, WaveGlow):
            steps = model.flow.steps[1]
            self.chains, self.early, self.tail = list(steps), list(steps.early), None
            hop, taps = model.upsample.hop_length, -(-model.upsample.conv.kernel_size[0] // model.upsample.hop_length)
            self.n_positions, self.neighbours, self.pad = hop // model.n_group, (taps - 1, 0), "constant"
        else:
            self.chains = list(model.flow.steps[2:])
            self.early = [0] * len(self.chains)
            self.tail = self._tail(*model.flow.steps[:2])
            self.n_positions, self.neighbours, self.pad = 1, (1, 2), "replicate"
        self.wavenets = [coupling.conditioner for _, coupling in self.chains]
        self.n_channels = self.wavenets[0].n_channels
        n_told = (1 + sum(self.neighbours)) * model.mel_config.n_mels
        self.n_features = features_width(n_told, self.n_channels, dtype)

    def flow(self) -> PackedFlow:
        steps = [self._step(k) for k in reversed(range(len(self.chains)))]
        last = self.wavenets[-1]
        n_left = sum(self.early)
        return PackedFlow(
            steps=steps,
            order=n_left + self._halves(len(self.chains) - 1),
            start=None if self._narrow(last) else (self._put(_matrix(last.start)), self._put(last.start.bias)),
            tail=self.tail,
            n_group=self.model.n_group,
            n_positions=self.n_positions,
            n_channels=self.n_channels,
            n_features=self.n_features,
            kernel_size=last.kernel_size,
            before=self.neighbours[0],
            after=self.neighbours[1],
            pad=self.pad,
            dtype=self.dtype,
            wide=self.wide,
        )

    def _step(self, k: int) -> PackedStep:
        mixing, coupling = self.chains[k]
        n, n_early = _width(mixing), self.early[k]
        halves = self._halves(k)
        # The coupling leaves its halves in its own order: the columns of the inverse follow it.
        inverse = _inverse(mixing).double().cpu()[:, halves.cpu()]
        inverse = torch.block_diag(torch.eye(n_early, dtype=torch.float64), inverse)
        hidden_bias = None
        if k:
            matrix = inverse[self._halves(k - 1).cpu()]
            wavenet = self.wavenets[k - 1]
            if not self._narrow(wavenet):
                start = _matrix(wavenet.start).double().cpu()
                matrix = torch.cat([matrix, start @ matrix[: start.shape[1]]])
                hidden_bias = self._put(wavenet.start.bias)
        else:
            matrix = inverse
        return PackedStep(
            layers=self._layers(self.wavenets[k]),
            matrix=self._put(matrix),
            hidden_bias=hidden_bias,
            max_log_s=coupling.max_log_s or 0.0,
            n=n,
            n_early=n_early,
        )

    def _layers(self, wavenet: WaveNet) -> list[PackedLayer]:
        n_layers, c = len(wavenet.dilations), self.n_channels
        told_weight, told_bias = self._told(wavenet)
        end = self._put(_matrix(wavenet.end))
        end_bias = self._put(wavenet.end.bias)
        res_skip = [(self._put(_matrix(conv)), self._put(conv.bias)) for conv in wavenet.res_skip]
        end_bias = end_bias + end @ sum(bias[-c:] for _, bias in res_skip)
        layers = []
        for i, (dilation, (weight, bias)) in enumerate(zip(wavenet.dilations, res_skip)):
            conv = self._put(wavenet.dilated[i].weight)
            told = F.pad(told_weight[:, i], (0, self.n_features - told_weight.shape[-1]))
            layer = PackedLayer(
                gate_weight=told,
                gate_bias=pack_bias(told_bias[i] + self._put(wavenet.dilated[i].bias), self.dtype),
                mix_weight=pack_after(weight[:c], self.dtype) if i < n_layers - 1 else None,
                mix_bias=bias[:c].contiguous() if i < n_layers - 1 else None,
                end_weight=pack_after(end @ weight[-c:], self.dtype),
                end_bias=None if i else end_bias,
                dilation=dilation,
            )
            if i or not self._narrow(wavenet):
                layer.gate_weight = pack_gate(conv, told, self.dtype)
            else:
                start = self._put(_matrix(wavenet.start)), self._put(wavenet.start.bias)
                layer.gate_weight = pack_told(told, self.dtype)
                layer.first_weight, layer.start_weight = pack_first(*start, conv, self.dtype)
            layers.append(layer)
        return layers

    def _told(self, wavenet: WaveNet) -> tuple[Tensor, Tensor]:
        """The map of a frame's features to each layer's gate, `(P, layers, 2C, K)`, and its bias `(layers, P, 2C)`."""
        n_layers, p = len(wavenet.dilations), self.n_positions
        weight, bias = self._put(_matrix(wavenet.context)), self._put(wavenet.context.bias)
        if isinstance(self.model, WaveGlow):
            upsample = self.model.upsample.conv
            kernel = self._put(upsample.weight)
            n_mels, group, taps = kernel.shape[0], self.model.n_group, 1 + self.neighbours[0]
            kernel = F.pad(kernel, (0, taps * p * group - kernel.shape[2]))
            # From (in, out, taps, P, group) to (out group, P taps in), the earliest frame first: it has the last tap.
            kernel = kernel.unflatten(2, (taps, p, group)).flip(2).permute(1, 4, 3, 2, 0)
            per_mel = weight.unflatten(1, (n_mels, group))
            bias = bias + per_mel.sum(2) @ self._put(upsample.bias)
            weight = (weight @ kernel.flatten(0, 1).flatten(1)).unflatten(1, (p, -1)).transpose(0, 1)
        else:
            weight = weight[None]
        return weight.unflatten(1, (n_layers, -1)), bias.view(n_layers, 1, -1).expand(-1, p, -1)

    def _tail(self, lapped: torch.nn.Module, scale: torch.nn.Module) -> PackedTail:
        gain, lapped = scale.conditioner, copy.deepcopy(lapped).to(self.wide)
        tables = (self._put(table) for table in (lapped.dct, lapped.cos, lapped.sin))
        return PackedTail(self._put(_matrix(gain)), self._put(gain.bias), *tables)

    def _halves(self, k: int) -> Tensor:
        """The channels of step k's latent, those first that its coupling lets pass."""
        mixing, coupling = self.chains[k]
        order = torch.arange(_width(mixing), device=self.device)
        return order.roll(-len(order) // 2) if coupling.swap else order

    def _narrow(self, wavenet: WaveNet) -> bool:
        return wavenet.start.in_channels <= NARROW

    def _put(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, self.wide).contiguous()


def _matrix(conv: torch.nn.Conv1d) -> Tensor:
    return conv.weight[:, :, 0]


def _width(mixing: InvertibleConv1x1 | FixedLinear) -> int:
    return (mixing.weight if isinstance(mixing, FixedLinear) else mixing.matrix()).shape[0]


def _inverse(mixing: InvertibleConv1x1 | FixedLinear) -> Tensor:
    if isinstance(mixing, FixedLinear):
        return mixing.inverse_weight
    return torch.linalg.inv(mixing.matrix().double())


def _device(model: MelFlow) -> torch.device:
    # A fused model has buffers alone.
    return next(itertools.chain(model.parameters(), model.buffers())).device
