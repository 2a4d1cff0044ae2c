"""A model's inverse with everything linear worked out: what the fast backends run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.bijections import AffineCoupling, Bijection, EarlyOutputs, FixedLinear
from waveflow.inference.fuse import fuse
from waveflow.models import LapGlow, MelFlow, WaveGlow
from waveflow.nn import FrameEncoder, MelUpsample, WaveNet
from waveflow.nn.modules import bias_of, of_kind


@dataclass(frozen=True)
class FoldedLayer:
    """One layer of a WaveNet. Position `l` of the flow is number `l % P` of mel frame `l // P`.

        (a, b)_l = sum_k taps_k h_{l + (k - n_taps // 2) dilation} + context U_{l % P} f_{l // P} + bias
        g = tanh(a) * sigmoid(b),   h <- h + mix g + mix_bias,   y <- y + end g

    Attributes:
        dilation: Positions between taps.
        taps: `(n_taps, 2C, C)`.
        context: The conditioning projection, `(2C, n_context)`; U is the flow's `upsampling`.
        bias: `(2C,)`.
        mix: The residual connection, `(C, C)`; None in the last layer.
        mix_bias: `(C,)`; None in the last layer.
        end: The skip connection and the network's last projection in one, `(N, C)`.
    """

    dilation: int
    taps: Tensor
    context: Tensor
    bias: Tensor
    mix: Tensor | None
    mix_bias: Tensor | None
    end: Tensor


@dataclass(frozen=True)
class FoldedStep:
    """One step of the inverse: a WaveNet, its coupling undone, the channels mixed back.

        h = start x_a + start_bias,   y = end_bias + sum of the layers',   (t, raw) = y
        x_b <- (x_b - t) exp(-log_s),   log_s = max_log_s tanh(raw / max_log_s), or raw where max_log_s is None
        x <- mix x,   then `early` channels of the latent join in front

    Attributes:
        start: `(C, N / 2)`.
        start_bias: `(C,)`.
        layers: In order.
        end_bias: `(N,)`.
        max_log_s: Bound of log_s.
        swap: x_a is the second half of the channels, not the first.
        mix: The inverse of the 1x1 convolution, `(N, N)`.
        early: Channels that join after this step.
    """

    start: Tensor
    start_bias: Tensor
    layers: tuple[FoldedLayer, ...]
    end_bias: Tensor
    max_log_s: float | None
    swap: bool
    mix: Tensor
    early: int


@dataclass(frozen=True)
class FoldedFlow:
    """What a model's inverse computes.

    Attributes:
        before: Mel frames before a frame that are among its features.
        after: Mel frames after it.
        hold: Beyond the ends of the mel the outermost frame repeats; otherwise there is nothing, zeros.
        upsampling: Features of a frame, K in number, to the conditioning of each of its positions,
            `(P, n_context, K)`, without the bias that is in the layers'.
        steps: In the order of the inverse, of the model's dtype.
        gain: LapGlow's conditional gain as `(n_bands, K)` and `(n_bands,)`; None for others.
        encoder: What makes a frame's features of the frame and its neighbours, in LapGlows that encode them.
    """

    before: int
    after: int
    hold: bool
    upsampling: Tensor
    steps: tuple[FoldedStep, ...]
    gain: tuple[Tensor, Tensor] | None = None
    encoder: FrameEncoder | None = None

    @property
    def n_mels(self) -> int:
        """Bands of the mel."""
        n_inputs = self.upsampling.shape[2] if self.encoder is None else self.encoder.start.in_features
        return n_inputs // (self.before + 1 + self.after)

    def frames(self, mel: Tensor) -> Tensor:
        """The mel with what lies beyond its ends, `(B, n_mels, F)` to `(B, before + F + after, n_mels)`."""
        return F.pad(mel, (self.before, self.after), mode="replicate" if self.hold else "constant").mT

    def features(self, mel: Tensor) -> Tensor:
        """Each frame's features: `(B, n_mels, F)` to `(B, F, K)`."""
        return self.told(self.frames(mel))

    def told(self, frames: Tensor) -> Tensor:
        """The features of what `frames` gives: each frame with its neighbours, the earliest first, or as encoded."""
        neighbours = frames.unfold(1, self.before + 1 + self.after, 1).transpose(2, 3).flatten(2)
        return neighbours if self.encoder is None else self.encoder(neighbours)


@torch.no_grad()
def fold(model: MelFlow) -> FoldedFlow:
    """Fold a WaveGlow or a LapGlow.

    The conditioning of WaveGlow, a transposed convolution followed by a projection, is one matrix for each position
    in a frame, `context U_p`, where `U_p` holds the upsampling's taps that reach position p. It takes half the
    operations of the two and does not wait for the latent. `end (S_1 g_1 + S_2 g_2 + ...)`, the skip connections
    summed and projected, is `sum_i (end S_i) g_i`.

    Args:
        model: As trained, or already fused.

    Raises:
        ValueError: Another model.
    """
    require_foldable(model)
    fused = fuse(model)
    if isinstance(fused, WaveGlow):
        upsample, chain = fused.upsample, fused.flow.steps[1]
        assert isinstance(chain, EarlyOutputs)
        offset = bias_of(upsample.conv).repeat_interleave(upsample.n_group)
        before = -(-upsample.conv.kernel_size[0] // upsample.hop_length) - 1
        steps = [_step(step, n, offset) for step, n in zip(chain, chain.early)]
        return FoldedFlow(before, 0, False, upsampling(upsample), tuple(reversed(steps)))
    assert isinstance(fused, LapGlow)
    _, scale, *glow_steps = fused.flow
    steps = [_step(step) for step in glow_steps]
    (to_gain,) = of_kind(scale, nn.Conv1d)
    gain = to_gain.weight[:, :, 0], bias_of(to_gain)
    nothing = torch.eye(gain[0].shape[1], dtype=gain[0].dtype, device=gain[0].device)
    return FoldedFlow(1, 2, True, nothing[None], tuple(reversed(steps)), gain, fused.encoder)


def foldable(model: MelFlow) -> bool:
    """Whether `fold` knows the model."""
    return isinstance(model, (WaveGlow, LapGlow))


def require_foldable(model: MelFlow) -> None:
    """Refuse a model that `fold` does not know.

    Raises:
        ValueError: It is one.
    """
    if not foldable(model):
        raise ValueError(f"{type(model).__name__} cannot be folded; WaveGlow and LapGlow can")


def upsampling(upsample: MelUpsample) -> Tensor:
    """The upsampling as a matrix for each position of a frame, `(P, n_mels * n_group, K)`, without its bias.

    Position p of frame f takes taps `j hop + p n_group + s` of frame `f - j` for sample s of its group; K counts the
    frames from the earliest on.
    """
    weight, hop, group = upsample.conv.weight, upsample.hop_length, upsample.n_group
    n_in, n_out, n_taps = weight.shape
    taps = F.pad(weight, (0, -n_taps % hop)).view(n_in, n_out, -1, hop // group, group).flip(2)
    return taps.permute(3, 1, 4, 2, 0).reshape(hop // group, n_out * group, -1)


def _step(step: Bijection, early: int = 0, offset: Tensor | None = None) -> FoldedStep:
    (mix,), (coupling,), (net,) = of_kind(step, FixedLinear), of_kind(step, AffineCoupling), of_kind(step, WaveNet)
    assert net.context is not None
    n_channels, n_layers = net.n_channels, len(net.dilated)
    context, context_bias = net.context.weight[:, :, 0], net.context.bias
    if offset is not None:
        context_bias = context_bias + context @ offset
    end, end_bias = net.end.weight[:, :, 0], bias_of(net.end)
    layers = []
    for i, (dilated, res_skip) in enumerate(zip(net.dilated, net.res_skip)):
        rows = slice(2 * n_channels * i, 2 * n_channels * (i + 1))
        weight, bias, last = res_skip.weight[:, :, 0], bias_of(res_skip), i == n_layers - 1
        end_bias = end_bias + end @ bias[-n_channels:]
        layers.append(
            FoldedLayer(
                dilation=net.dilations[i],
                taps=dilated.weight.permute(2, 0, 1),
                context=context[rows],
                bias=bias_of(dilated) + context_bias[rows],
                mix=None if last else weight[:n_channels],
                mix_bias=None if last else bias[:n_channels],
                end=end @ weight[-n_channels:],
            )
        )
    return FoldedStep(
        start=net.start.weight[:, :, 0],
        start_bias=net.start.bias,
        layers=tuple(layers),
        end_bias=end_bias,
        max_log_s=coupling.max_log_s,
        swap=coupling.swap,
        mix=mix.inverse_weight,
        early=early,
    )
