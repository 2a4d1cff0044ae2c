"""The non-causal WaveNet that conditions WaveGlow's and LapGlow's couplings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import require_odd, zeroed
from waveflow.nn.modules import ModuleListOf
from waveflow.settings import require_counts, require_lists_of_counts


class WaveNet(nn.Module):
    """Dilated convolutions with gated units, residual and skip connections, over the whole of both sides.

        h_0 = start(x)
        g_i = tanh(a) * sigmoid(b),   (a, b) = conv_i(h_i) + context_i
        h_{i+1} = h_i + res_i(g_i),   skip = sum_i skip_i(g_i),   y = end(skip)

    `end` starts at zero, so that a fresh coupling is the identity.

    Source: WaveNet (arXiv:1609.03499) without causality, as in WaveGlow (arXiv:1811.00002).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        context_channels: Channels of the conditioning features, 0 for none.
        n_channels: Width of the hidden state.
        n_layers: Number of dilated convolutions.
        kernel_size: Taps of each, odd.
        dilations: One per layer; doubling from 1 unless given.
        weight_norm: Reparametrise every convolution but `end` by direction and length.

    Raises:
        ValueError: `kernel_size` is even, or there is not one dilation a layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        context_channels: int = 0,
        n_channels: int,
        n_layers: int,
        kernel_size: int = 3,
        dilations: Sequence[int] | None = None,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels, n_layers=n_layers)
        require_counts(0, context_channels=context_channels)
        require_odd(kernel_size)
        dilations = [2**i for i in range(n_layers)] if dilations is None else dilations
        require_lists_of_counts(dilations=dilations)
        self.dilations = tuple(dilations)
        if len(self.dilations) != n_layers:
            raise ValueError(f"{len(self.dilations)} dilations were given for n_layers={n_layers}")
        self.n_channels, self.kernel_size = n_channels, kernel_size
        norm = weight_normed if weight_norm else lambda conv: conv

        self.start = norm(nn.Conv1d(in_channels, n_channels, 1))
        self.context = norm(nn.Conv1d(context_channels, 2 * n_channels * n_layers, 1)) if context_channels else None
        self.dilated: ModuleListOf[nn.Conv1d] = ModuleListOf()
        self.res_skip: ModuleListOf[nn.Conv1d] = ModuleListOf()
        for i, dilation in enumerate(self.dilations):
            padding = dilation * (kernel_size - 1) // 2
            conv = nn.Conv1d(n_channels, 2 * n_channels, kernel_size, dilation=dilation, padding=padding)
            self.dilated.append(norm(conv))
            width = 2 * n_channels if i < n_layers - 1 else n_channels
            self.res_skip.append(norm(nn.Conv1d(n_channels, width, 1)))
        self.end = zeroed(nn.Conv1d(n_channels, out_channels, 1))

    @property
    def receptive_field(self) -> int:
        """Frames on each side that can reach one output frame."""
        return sum(self.dilations) * (self.kernel_size - 1) // 2

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, L)` to `(B, out_channels, L)`.

        Where the context has a mask, the hidden state is zero in the padding, as beyond the end of an item alone.
        """
        features, mask = as_context(context)
        h = self.start(x)
        told = None
        if self.context is not None:
            told = self.context(required(features, self.context.in_channels, "L")).chunk(len(self.dilations), dim=1)
        skip = None
        for i, (dilated, res_skip) in enumerate(zip(self.dilated, self.res_skip)):
            if mask is not None:
                h = h * mask.to(h.dtype)
            gate = dilated(h)
            if told is not None:
                gate = gate + told[i]
            a, b = gate.chunk(2, dim=1)
            out = res_skip(torch.tanh(a) * torch.sigmoid(b))
            if i < len(self.dilations) - 1:
                residual, out = out.chunk(2, dim=1)
                h = h + residual
            skip = out if skip is None else skip + out
        return self.end(skip)
