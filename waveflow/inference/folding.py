"""A model's inverse with everything linear worked out: what the fast backends run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.bijections import AffineCoupling, FixedLinear
from waveflow.inference.fuse import fuse
from waveflow.models import LapGlow, MelFlow, WaveGlow
from waveflow.nn import MelUpsample, WaveNet


@dataclass(frozen=True)
class FoldedLayer:
    """One layer of a WaveNet. Position `l` of the flow is number `l % P` of mel frame `l // P`.

        (a, b)_l = sum_k taps_k h_{l + (k - n_taps // 2) dilation} + told_{l % P} f_{l // P} + bias
        g = tanh(a) * sigmoid(b),   h <- h + mix g + mix_bias,   y <- y + end g

    Attributes:
        dilation: Positions between taps.
        taps: `(n_taps, 2C, C)`.
        told: The mel's upsampling and the conditioning projection in one, `(P, 2C, K)`, K features a frame.
        bias: `(2C,)`.
        mix: The residual connection, `(C, C)`; None in the last layer.
        mix_bias: `(C,)`; None in the last layer.
        end: The skip connection and the network's last projection in one, `(N, C)`.
    """

    dilation: int
    taps: Tensor
    told: Tensor
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
    """What a model's inverse computes, of which the steps are worked out one at a time as they are asked for.

    Attributes:
        n_positions: Positions of the flow in a mel frame, P.
        before: Mel frames before a frame that are among its features.
        after: Mel frames after it.
        hold: Beyond the ends of the mel the outermost frame repeats; otherwise there is nothing, zeros.
        steps: Gives the steps in the order of the inverse, float32 or the model's float64.
        gain: LapGlow's conditional gain as `(n_bands, K)` and `(n_bands,)`; None for others.
    """

    n_positions: int
    before: int
    after: int
    hold: bool
    steps: Callable[[], Iterator[FoldedStep]]
    gain: tuple[Tensor, Tensor] | None = None

    def features(self, mel: Tensor) -> Tensor:
        """Each frame's features, the earliest of its neighbours first: `(B, n_mels, F)` to `(B, F, K)`."""
        padded = F.pad(mel, (self.before, self.after), mode="replicate" if self.hold else "constant")
        return padded.unfold(2, self.before + 1 + self.after, 1).permute(0, 2, 3, 1).flatten(2)


@torch.no_grad()
def fold(model: MelFlow) -> FoldedFlow:
    """Fold a WaveGlow or a LapGlow.

    The conditioning of WaveGlow, a transposed convolution followed by a projection, becomes one matrix for each
    position in a frame: `told_p = W_context U_p`, where `U_p` holds the upsampling's taps that reach position p. It
    takes half the operations of the two and does not wait for the latent. `end (S_1 g_1 + S_2 g_2 + ...)`, the skip
    connections summed and projected, becomes `sum_i (end S_i) g_i`.

    Args:
        model: As trained, or already fused.

    Raises:
        ValueError: Another model.
    """
    if not foldable(model):
        raise ValueError(f"{type(model).__name__} cannot be folded; WaveGlow and LapGlow can")
    fused = fuse(model)
    if isinstance(fused, WaveGlow):
        upsample, steps = fused.upsample, fused.flow.steps[1]
        before = -(-upsample.conv.kernel_size[0] // upsample.hop_length) - 1
        n_positions, early = upsample.hop_length // upsample.n_group, steps.early
        shape = {"n_positions": n_positions, "before": before, "after": 0, "hold": False}
        gain, by_position, offset = None, upsampling(upsample), upsample.conv.bias.repeat_interleave(upsample.n_group)
    else:
        steps = fused.flow.steps[2:]
        shape = {"n_positions": 1, "before": 1, "after": 2, "hold": True}
        to_gain, early, by_position, offset = fused.flow.steps[1].conditioner, [0] * len(steps), None, None
        gain = to_gain.weight[:, :, 0], to_gain.bias

    @torch.no_grad()
    def folded_steps() -> Iterator[FoldedStep]:
        for (mix, coupling), n_early in zip(reversed(list(steps)), reversed(early)):
            yield _step(mix, coupling, n_early, by_position, offset)

    return FoldedFlow(**shape, steps=folded_steps, gain=gain)


def foldable(model: MelFlow) -> bool:
    """Whether `fold` knows the model."""
    return isinstance(model, (WaveGlow, LapGlow))


def upsampling(upsample: MelUpsample) -> Tensor:
    """The upsampling as a matrix for each position of a frame, `(P, n_mels * n_group, K)`, without its bias.

    Position p of frame f takes taps `j hop + p n_group + s` of frame `f - j` for sample s of its group; K counts the
    frames from the earliest on.
    """
    weight, hop, group = upsample.conv.weight, upsample.hop_length, upsample.n_group
    n_in, n_out, n_taps = weight.shape
    taps = F.pad(weight, (0, -n_taps % hop)).view(n_in, n_out, -1, hop // group, group).flip(2)
    return taps.permute(3, 1, 4, 2, 0).reshape(hop // group, n_out * group, -1)


def _step(
    mix: FixedLinear, coupling: AffineCoupling, early: int, by_position: Tensor | None, offset: Tensor | None
) -> FoldedStep:
    net: WaveNet = coupling.conditioner
    n_channels, n_layers = net.n_channels, len(net.dilated)
    told, told_bias = net.context.weight[:, :, 0], net.context.bias
    if by_position is None:
        told = told[None]
    else:
        told_bias = told_bias + told @ offset
        n_positions, _, n_features = by_position.shape
        told = told @ by_position.permute(1, 0, 2).flatten(1)
        told = told.view(-1, n_positions, n_features).transpose(0, 1)
    end, end_bias = net.end.weight[:, :, 0], net.end.bias
    layers = []
    for i, (dilated, res_skip) in enumerate(zip(net.dilated, net.res_skip)):
        rows = slice(2 * n_channels * i, 2 * n_channels * (i + 1))
        weight, bias, last = res_skip.weight[:, :, 0], res_skip.bias, i == n_layers - 1
        end_bias = end_bias + end @ bias[-n_channels:]
        layers.append(
            FoldedLayer(
                dilation=net.dilations[i],
                taps=dilated.weight.permute(2, 0, 1),
                told=told[:, rows],
                bias=dilated.bias + told_bias[rows],
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
