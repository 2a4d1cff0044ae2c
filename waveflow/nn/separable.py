"""The depthwise-separable conditioner of SqueezeWave's couplings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import require_odd, zeroed
from waveflow.nn.modules import ModuleListOf, bias_of
from waveflow.settings import require_counts


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics leave out the padding."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `(B, C, L)` to `(B, C, L)`; under a mask `(B, 1, L)` the result is zero in the padding."""
        if mask is None:
            return super().forward(x)
        if not self.training:
            return super().forward(x) * mask
        count = mask.sum()
        mean = (x * mask).sum((0, 2)) / count
        centred = (x - mean[:, None]) * mask
        variance = centred.square().sum((0, 2)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * count / (count - 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None] + self.bias[:, None] * mask


class SeparableConv(nn.Module):
    """Batch normalisation, a convolution of each channel with itself, and a 1x1 convolution across channels.

    The convolution pads with zeros after the normalisation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Taps of the depthwise convolution, odd.
        batch_norm: Normalise first; false for the weights of a network whose normalisation was folded away.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(in_channels) if batch_norm else None
        self.depthwise = nn.Conv1d(in_channels, in_channels, kernel_size, padding=kernel_size // 2, groups=in_channels)
        self.pointwise = nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `(B, in_channels, L)` to `(B, out_channels, L)`; `mask` is `(B, 1, L)`."""
        if self.norm is not None:
            x = self.norm(x, mask)
        elif mask is not None:
            x = x * mask
        return self.pointwise(self.depthwise(x))

    def folded(self) -> SeparableConv | FoldedSeparableConv:
        """The same map in eval mode with the normalisation folded into the convolutions."""
        return self if self.norm is None else FoldedSeparableConv(self)


class FoldedSeparableConv(nn.Module):
    """A `SeparableConv` in eval mode, exactly, with its batch normalisation folded away.

    The normalisation is `scale * x + shift` for each channel. Far from the ends, the depthwise convolution
    takes it to

        conv(scale * x + shift; w) = conv(x; scale * w) + shift * sum_k w_k

    whose constant the pointwise bias absorbs. But the padding is zero after the normalisation, so that taps
    beyond the ends must not add their share of the constant: it is taken off in the outer columns.
    """

    taps: Tensor
    share: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, layer: SeparableConv) -> None:
        super().__init__()
        norm, depthwise, pointwise = layer.norm, layer.depthwise, layer.pointwise
        assert norm is not None
        with torch.no_grad():
            scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
            shift = norm.bias.double() - scale * norm.running_mean.double()
            taps, mix = depthwise.weight.double(), pointwise.weight.double()
            share = shift[:, None] * taps[:, 0]
            constant = share.sum(1) + bias_of(depthwise).double()
            buffers = {
                "taps": scale[:, None, None] * taps,
                "share": share[:, None],
                "weight": mix,
                "bias": bias_of(pointwise).double() + mix[:, :, 0] @ constant,
            }
        for name, value in buffers.items():
            self.register_buffer(name, value.to(depthwise.weight.dtype))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `SeparableConv.forward`."""
        channels, _, kernel_size = self.taps.shape
        reach, length = kernel_size // 2, x.shape[-1]
        if mask is not None:
            x = x * mask
        y = F.conv1d(x, self.taps, padding=reach, groups=channels)
        if mask is not None or length <= 2 * reach:
            y = y - self._missing(1 - mask if mask is not None else x.new_zeros(1, 1, length))
        elif reach:
            missing = self._missing(x.new_zeros(1, 1, 2 * reach))
            y[..., :reach] -= missing[..., :reach]
            y[..., length - reach :] -= missing[..., reach:]
        return F.conv1d(y, self.weight, self.bias)

    def _missing(self, outside: Tensor) -> Tensor:
        reach = self.taps.shape[-1] // 2
        return F.conv1d(F.pad(outside, (reach, reach), value=1.0), self.share)


class SeparableWaveNet(nn.Module):
    """A WaveNet without dilation, whose convolutions are depthwise separable.

        h_0 = start(x)
        g_i = tanh(a) * sigmoid(b),   (a, b) = pointwise_i(depthwise_i(norm_i(h_i))) + context_i
        h_{i+1} = h_i + res_i(g_i),   y = end(h_n)

    `end` starts at zero, so that a fresh coupling is the identity.

    Source: SqueezeWave (arXiv:2001.05685); the normalisation stands where its authors' code has it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        context_channels: Channels of the conditioning features.
        n_channels: Width of the hidden state.
        n_layers: Number of separable convolutions.
        kernel_size: Taps of each depthwise convolution, odd.
        repeat: Positions of the input that one position of the features belongs to.
        batch_norm: Whether the layers normalise.

    Raises:
        ValueError: `kernel_size` is even.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        context_channels: int,
        n_channels: int,
        n_layers: int,
        kernel_size: int = 3,
        repeat: int = 1,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels, n_layers=n_layers)
        require_counts(context_channels=context_channels, repeat=repeat)
        require_odd(kernel_size)
        self.n_layers, self.kernel_size, self.repeat = n_layers, kernel_size, repeat
        self.start = weight_normed(nn.Conv1d(in_channels, n_channels, 1))
        self.context = weight_normed(nn.Conv1d(context_channels, 2 * n_channels * n_layers, 1))
        self.separable: ModuleListOf[SeparableConv | FoldedSeparableConv] = ModuleListOf()
        self.residual: ModuleListOf[nn.Conv1d] = ModuleListOf()
        for _ in range(n_layers):
            self.separable.append(SeparableConv(n_channels, 2 * n_channels, kernel_size, batch_norm=batch_norm))
            self.residual.append(weight_normed(nn.Conv1d(n_channels, n_channels, 1)))
        self.end = zeroed(nn.Conv1d(n_channels, out_channels, 1))

    @property
    def receptive_field(self) -> int:
        """Positions on each side that can reach one output position."""
        return self.n_layers * (self.kernel_size // 2)

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, L)` to `(B, out_channels, L)`.

        The context's features are `(B, context_channels, ceil(L / repeat))`. Where it has a mask, the normalised
        state is zero in the padding, as beyond the end of an item alone.
        """
        features, mask = as_context(context)
        told = self.context(required(features, self.context.in_channels, "L")).chunk(self.n_layers, dim=1)
        mask = None if mask is None else mask.to(x.dtype)
        h = self.start(x)
        for separable, residual, condition in zip(self.separable, self.residual, told):
            if self.repeat > 1:
                condition = condition.repeat_interleave(self.repeat, dim=2)[..., : x.shape[-1]]
            a, b = (separable(h, mask) + condition).chunk(2, dim=1)
            h = h + residual(torch.tanh(a) * torch.sigmoid(b))
        return self.end(h)
