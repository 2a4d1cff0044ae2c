"""The non-causal WaveNet that conditions FloWaveNet's couplings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import require_odd, zeroed
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts


class ScaledWaveNet(nn.Module):
    """Dilated convolutions with gated units, whose residual sums keep their variance.

        h_0 = relu(start(x))
        g_i = tanh(a) * sigmoid(b),   (a, b) = conv_i(h_i) + context_i
        h_{i+1} = sqrt(1/2) (h_i + res_i(g_i)),   skip = sum_i skip_i(g_i)
        y = exp(3 gain) * end(relu(middle(relu(skip))))

    `end` starts at zero, so that a fresh coupling is the identity.

    Source: FloWaveNet (arXiv:1811.02155), after ClariNet (arXiv:1807.07281).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        context_channels: Channels of the conditioning features.
        n_channels: Width of the hidden state.
        n_layers: Number of dilated convolutions; dilations double from 1.
        kernel_size: Taps of `start` and of each dilated convolution, odd.

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
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels, n_layers=n_layers)
        require_counts(context_channels=context_channels)
        require_odd(kernel_size)
        self.n_channels, self.n_layers, self.kernel_size = n_channels, n_layers, kernel_size
        self.start = weight_normed(nn.Conv1d(in_channels, n_channels, kernel_size, padding=kernel_size // 2))
        self.context = weight_normed(nn.Conv1d(context_channels, 2 * n_channels * n_layers, 1))
        self.dilated: ModuleListOf[nn.Conv1d] = ModuleListOf()
        self.res_skip: ModuleListOf[nn.Conv1d] = ModuleListOf()
        for i in range(n_layers):
            padding = 2**i * (kernel_size // 2)
            conv = nn.Conv1d(n_channels, 2 * n_channels, kernel_size, dilation=2**i, padding=padding)
            self.dilated.append(weight_normed(conv))
            width = 2 * n_channels if i < n_layers - 1 else n_channels
            self.res_skip.append(weight_normed(nn.Conv1d(n_channels, width, 1)))
        self.middle = weight_normed(nn.Conv1d(n_channels, n_channels, 1))
        self.end = zeroed(nn.Conv1d(n_channels, out_channels, 1))
        self.gain = nn.Parameter(torch.zeros(out_channels, 1))

    @property
    def receptive_field(self) -> int:
        """Positions on each side that can reach one output position."""
        return (self.kernel_size // 2) * 2**self.n_layers

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, L)` to `(B, out_channels, L)`.

        Where the context has a mask, input and hidden state are zero in the padding, as beyond the end of an item
        alone.
        """
        features, mask = as_context(context)
        told = self.context(required(features, self.context.in_channels, "L")).chunk(self.n_layers, dim=1)
        mask = None if mask is None else mask.to(x.dtype)
        h, skip = torch.relu(self.start(x if mask is None else x * mask)), None
        for dilated, res_skip, condition in zip(self.dilated, self.res_skip, told):
            if mask is not None:
                h = h * mask
            a, b = (dilated(h) + condition).chunk(2, dim=1)
            out = res_skip(torch.tanh(a) * torch.sigmoid(b))
            if out.shape[1] > self.n_channels:
                residual, out = out.chunk(2, dim=1)
                h = math.sqrt(0.5) * (h + residual)
            skip = out if skip is None else skip + out
        assert skip is not None
        return torch.exp(3 * self.gain) * self.end(torch.relu(self.middle(torch.relu(skip))))


class ContextHalves(nn.Module):
    """A conditioner that is told some halves of the context's channels, in an order of its own.

    Args:
        conditioner: Told the halves, stacked.
        halves: 0 for the first, 1 for the second.
    """

    def __init__(self, conditioner: ScaledWaveNet, *halves: int) -> None:
        super().__init__()
        self.conditioner, self.halves = conditioner, halves
        self.channels = 2 * conditioner.context.in_channels // len(halves)

    @property
    def receptive_field(self) -> int:
        """That of the conditioner."""
        return self.conditioner.receptive_field

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, L)` to `(B, out_channels, L)`; the context's features are `(B, C, L)`, C even."""
        features, mask = as_context(context)
        features = required(features, self.channels, "L")
        parts = features.chunk(2, dim=1)
        told = torch.cat([parts[half] for half in self.halves], dim=1)
        return self.conditioner(x, Context(told, mask))
