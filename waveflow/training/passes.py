"""LapGlow's two passes arranged for training on a CPU: frames by bands, one matrix product where the model has many.

The weights are the model's own, so that gradients land where an optimizer looks for them. Against `LapGlow.forward`
and `LapGlow.inverse` under autocast:

- tensors lie as `(B, L, C)`, so that every convolution is one matrix product over unfolded taps;
- the mel is projected once for all steps and both passes;
- weights are brought to half precision once for both passes;
- one LU decomposition of each 1x1 gives its determinant and its inverse;
- what is elementwise is compiled, where a compiler is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.bijections import InvertibleConv1x1
from waveflow.models import LapGlow, MelFlow
from waveflow.nn import WaveNet
from waveflow.nn.modules import bias_of, of_kind
from waveflow.ops.processor import one_thread

Steps = tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., Tensor]]
"""`couple` and `uncouple`, compiled or not."""


class InverseAndLogDet(torch.autograd.Function):
    """Inverses `(N, C, C)` and log |det| `(N,)` of matrices `(N, C, C)`, from one decomposition."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        eye = torch.eye(weight.shape[-1], dtype=weight.dtype, device=weight.device).expand_as(weight)
        # On several threads LAPACK called permutations singular in a process where other libraries had threads too.
        with one_thread(weight.device.type == "cpu"):
            factors, pivots = torch.linalg.lu_factor(weight)
            inverse = torch.linalg.lu_solve(factors, pivots, eye)
        ctx.save_for_backward(inverse)
        return inverse, factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)

    @staticmethod
    def backward(ctx: Any, of_inverse: Tensor, of_log_det: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        turned = inverse.mT
        return of_log_det[:, None, None] * turned - turned @ of_inverse @ turned


def conditioner(x: Tensor, told: Tensor, weights: list[Tensor], dilations: tuple[int, ...]) -> Tensor:
    """A WaveNet `(B, L, C_in)` to `(B, L, C_out)`; `told` is the projected mel `(B, L, 2 C n_layers)`."""
    start, start_bias, end, end_bias, *layers = weights
    h = F.linear(x, start, start_bias)
    n_channels, skip = h.shape[-1], None
    for i, dilation in enumerate(dilations):
        taps, bias, after, after_bias = layers[4 * i : 4 * i + 4]
        reach = taps.shape[1] // n_channels // 2 * dilation
        padded = F.pad(h, (0, 0, reach, reach))
        seen = torch.cat([padded[:, at : at + h.shape[1]] for at in range(0, 2 * reach + 1, dilation)], dim=2)
        gate = F.linear(seen, taps, bias) + told[..., 2 * n_channels * i : 2 * n_channels * (i + 1)]
        a, b = gate.chunk(2, dim=2)
        out = F.linear(torch.tanh(a) * torch.sigmoid(b), after, after_bias)
        if i < len(dilations) - 1:
            residual, out = out.chunk(2, dim=2)
            h = h + residual
        skip = out if skip is None else skip + out
    assert skip is not None
    return F.linear(skip, end, end_bias)


def couple(
    x: Tensor, mix: Tensor, told: Tensor, weights: list[Tensor], dilations: tuple[int, ...], bound: float
) -> tuple[Tensor, Tensor]:
    """One step towards the latent; also the sum of its coupling's log-scales, `(B,)`."""
    a, b = (x @ mix.mT).chunk(2, dim=2)
    t, log_s = conditioner(a.to(told.dtype), told, weights, dilations).to(a.dtype).chunk(2, dim=2)
    log_s = bound * torch.tanh(log_s / bound)
    return torch.cat([a, torch.exp(log_s) * b + t], dim=2), log_s.sum((1, 2))


def uncouple(
    z: Tensor, unmix: Tensor, told: Tensor, weights: list[Tensor], dilations: tuple[int, ...], bound: float
) -> Tensor:
    """One step back."""
    a, b = z.chunk(2, dim=2)
    t, log_s = conditioner(a.to(told.dtype), told, weights, dilations).to(a.dtype).chunk(2, dim=2)
    b = (b - t) * torch.exp(-bound * torch.tanh(log_s / bound))
    return torch.cat([a, b], dim=2) @ unmix.mT


class Passes:
    """Both passes of a LapGlow over one batch, sharing what they have in common.

    Args:
        model: The model; unpadded batches only.
        mel: `(B, n_mels, L)`.
        dtype: Of the conditioners' products.
        steps: `couple` and `uncouple`, compiled or not.
    """

    def __init__(self, model: LapGlow, mel: Tensor, dtype: torch.dtype, steps: Steps = (couple, uncouple)) -> None:
        self.squeeze, scale, *_ = model.flow
        self.couple, self.uncouple = steps
        self.dilations, self.bound = tuple(model.config.dilations), model.config.max_log_s
        with torch.autocast(mel.device.type, dtype, dtype.itemsize < mel.dtype.itemsize):
            features = model.features(mel).mT.to(mel.dtype)
        (to_gain,) = of_kind(scale, nn.Conv1d)
        self.log_gain = F.linear(features, to_gain.weight[..., 0], to_gain.bias)
        nets = of_kind(model.flow, WaveNet)
        self.mix = torch.stack([mix.weight for mix in of_kind(model.flow, InvertibleConv1x1)])
        self.unmix, self.log_abs_det = InverseAndLogDet.apply(self.mix)
        contexts = [net.context for net in nets if net.context is not None]
        context = torch.cat([conv.weight[..., 0] for conv in contexts]).to(dtype)
        bias = torch.cat([bias_of(conv) for conv in contexts]).to(dtype)
        self.told = F.linear(features.to(dtype), context, bias).chunk(len(nets), dim=2)
        self.weights = [[w.to(dtype) for w in _weights(net)] for net in nets]

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Audio `(B, T)` to the latent `(B, L, n_bands)` and log_det `(B,)`, nats."""
        x = self.squeeze(audio)[0].mT * self.log_gain.exp()
        log_det = self.log_gain.sum((1, 2)) + self.log_abs_det.sum() * x.shape[1]
        for mix, told, weights in zip(self.mix, self.told, self.weights):
            x, changed = self.couple(x, mix, told, weights, self.dilations, self.bound)
            log_det = log_det + changed
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """The latent `(n, L, n_bands)` of the batch's first n items to audio `(n, T)`."""
        n = len(z)
        for unmix, told, weights in zip(self.unmix.flip(0), self.told[::-1], self.weights[::-1]):
            z = self.uncouple(z, unmix, told[:n], weights, self.dilations, self.bound)
        return self.squeeze.inverse((z * (-self.log_gain[:n]).exp()).mT)


def steps_for(model: MelFlow, device: torch.device, *, compiled: bool = False) -> Steps | None:
    """The steps of passes arranged for a model on a device; None where its own passes are the better ones.

    Args:
        model: The flow that is trained.
        device: Where.
        compiled: Compile what is elementwise.
    """
    if not isinstance(model, LapGlow) or device.type != "cpu":
        return None
    if compiled:
        return torch.compile(couple, dynamic=False), torch.compile(uncouple, dynamic=False)
    return couple, uncouple


def _weights(net: WaveNet) -> list[Tensor]:
    found = [net.start.weight[..., 0], net.start.bias, net.end.weight[..., 0], bias_of(net.end)]
    for dilated, after in zip(net.dilated, net.res_skip):
        found += [dilated.weight.permute(0, 2, 1).flatten(1), bias_of(dilated), after.weight[..., 0], bias_of(after)]
    return found
