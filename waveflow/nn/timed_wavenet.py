"""The WaveNet that is the velocity of WaveNODE's continuous flows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import require_odd, zeroed
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts, require_lists_of_counts

TIME_CHANNELS = 64


class TimedWaveNet(nn.Module):
    """Dilated convolutions with gated units, told a time and features that are projected already.

        h_0 = start(x)
        g_i = tanh(a) * sigmoid(b),   (a, b) = conv_i(h_i) + features_i + time_i(t)
        h_{i+1} = h_i + res_i(g_i),   skip = sum_i skip_i(g_i),   y = end(skip)

    Every part is smooth, as solvers want it. `end` starts at zero, so that a fresh flow is the identity.

    Source: WaveNODE (arXiv:2006.04598), after WaveGlow (arXiv:1811.00002).

    Args:
        n_features: Channels of input and output.
        n_channels: Width of the hidden state.
        dilations: One per layer.
        kernel_size: Taps of each dilated convolution, odd.

    Raises:
        ValueError: `kernel_size` is even.
    """

    def __init__(self, n_features: int, *, n_channels: int, dilations: Sequence[int], kernel_size: int = 3) -> None:
        super().__init__()
        require_counts(n_features=n_features, n_channels=n_channels)
        require_lists_of_counts(dilations=dilations)
        require_odd(kernel_size)
        self.n_channels, self.dilations, self.kernel_size = n_channels, tuple(dilations), kernel_size
        self.start = weight_normed(nn.Conv1d(n_features, n_channels, 1))
        self.time = nn.Sequential(
            nn.Linear(1, TIME_CHANNELS), nn.SiLU(), nn.Linear(TIME_CHANNELS, self.context_channels)
        )
        self.dilated: ModuleListOf[nn.Conv1d] = ModuleListOf()
        self.res_skip: ModuleListOf[nn.Conv1d] = ModuleListOf()
        for i, dilation in enumerate(self.dilations):
            padding = dilation * (kernel_size // 2)
            conv = nn.Conv1d(n_channels, 2 * n_channels, kernel_size, dilation=dilation, padding=padding)
            self.dilated.append(weight_normed(conv))
            width = 2 * n_channels if i < len(self.dilations) - 1 else n_channels
            self.res_skip.append(weight_normed(nn.Conv1d(n_channels, width, 1)))
        self.end = zeroed(nn.Conv1d(n_channels, n_features, 1))

    @property
    def context_channels(self) -> int:
        """Channels of the features, as many as all layers' gates have."""
        return 2 * self.n_channels * len(self.dilations)

    @property
    def receptive_field(self) -> int:
        """Positions on each side that can reach one output position."""
        return sum(self.dilations) * (self.kernel_size // 2)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map a time and `(B, n_features, L)` to the same shape.

        Args:
            t: A scalar, or a time for each item, `(B,)`.
            x: `(B, n_features, L)`.
            context: Features `(B, context_channels, L)`; where it has a mask, the hidden state is zero in the padding.
        """
        features, mask = as_context(context)
        times = self.time(t.to(x.dtype).reshape(-1, 1))[..., None]
        told = (required(features, self.context_channels, "L") + times).chunk(len(self.dilations), dim=1)
        h, skip = self.start(x), None
        for dilated, res_skip, condition in zip(self.dilated, self.res_skip, told):
            if mask is not None:
                h = h * mask.to(h.dtype)
            a, b = (dilated(h) + condition).chunk(2, dim=1)
            out = res_skip(torch.tanh(a) * torch.sigmoid(b))
            if out.shape[1] > self.n_channels:
                residual, out = out.chunk(2, dim=1)
                h = h + residual
            skip = out if skip is None else skip + out
        return self.end(skip)
