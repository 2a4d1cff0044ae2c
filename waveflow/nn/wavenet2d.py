"""The two-dimensional WaveNet of WaveFlow: causal over the rows, blind to no column."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import require_odd, zeroed
from waveflow.nn.modules import ModuleListOf, bias_of
from waveflow.settings import require_counts, require_lists_of_counts


class WaveNet2D(nn.Module):
    """Dilated convolutions over rows and columns; an output row is told its own row of input and those above.

        h_0 = start(x)
        g_i = tanh(a) * sigmoid(b),   (a, b) = conv_i(h_i) + context_i
        h_{i+1} = h_i + res_i(g_i),   skip = sum_i skip_i(g_i),   y = end(skip)

    `end` starts at zero, so that a fresh flow is the identity.

    Source: the dilated two-dimensional convolutions of WaveFlow (arXiv:1912.01219).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        context_channels: Channels of the conditioning features.
        n_channels: Width of the hidden state.
        n_layers: Number of dilated convolutions.
        kernel_size: Taps of each, over the rows as over the columns, odd.
        height_dilations: Dilation of each layer over the rows; 1 unless given.
        dilations: Dilation of each layer over the columns; doubling from 1 unless given.

    Raises:
        ValueError: `kernel_size` is even, or there is not one dilation of each kind a layer.
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
        height_dilations: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels, n_layers=n_layers)
        require_counts(context_channels=context_channels)
        require_odd(kernel_size)
        height_dilations = [1] * n_layers if height_dilations is None else height_dilations
        dilations = [2**i for i in range(n_layers)] if dilations is None else dilations
        require_lists_of_counts(height_dilations=height_dilations, dilations=dilations)
        self.height_dilations, self.dilations = tuple(height_dilations), tuple(dilations)
        if not len(self.dilations) == len(self.height_dilations) == n_layers:
            raise ValueError(
                f"{len(self.dilations)} dilations and {len(self.height_dilations)} height_dilations were given "
                f"for n_layers={n_layers}; give one of each per layer"
            )
        self.n_channels, self.kernel_size = n_channels, kernel_size
        self.start = weight_normed(nn.Conv2d(in_channels, n_channels, 1))
        self.context = weight_normed(nn.Conv2d(context_channels, 2 * n_channels * n_layers, 1))
        self.dilated: ModuleListOf[nn.Conv2d] = ModuleListOf()
        self.res_skip: ModuleListOf[nn.Conv2d] = ModuleListOf()
        for i, dilation in enumerate(zip(self.height_dilations, self.dilations)):
            padding = (0, dilation[1] * (kernel_size - 1) // 2)
            conv = nn.Conv2d(n_channels, 2 * n_channels, kernel_size, dilation=dilation, padding=padding)
            self.dilated.append(weight_normed(conv))
            width = 2 * n_channels if i < n_layers - 1 else n_channels
            self.res_skip.append(weight_normed(nn.Conv2d(n_channels, width, 1)))
        self.end = zeroed(nn.Conv2d(n_channels, out_channels, 1))

    @property
    def receptive_field(self) -> int:
        """Columns on each side that can reach one output column."""
        return sum(self.dilations) * (self.kernel_size - 1) // 2

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, H, W)` to `(B, out_channels, H, W)`.

        The context's features are `(B, context_channels, H, W)`, its mask `(B, 1, W)`. Where there is a mask, the
        hidden state is zero in the padding, as beyond the end of an item alone.
        """
        features, mask = as_context(context)
        told = self.context(required(features, self.context.in_channels, "H", "W")).chunk(len(self.dilations), dim=1)
        h, skip = self.start(x), None
        for conv, res_skip, dilation, condition in zip(self.dilated, self.res_skip, self.height_dilations, told):
            if mask is not None:
                h = h * mask[:, None].to(h.dtype)
            above = dilation * (self.kernel_size - 1)
            a, b = (conv(F.pad(h, (0, 0, above, 0))) + condition).chunk(2, dim=1)
            out = res_skip(torch.tanh(a) * torch.sigmoid(b))
            if out.shape[1] > self.n_channels:
                residual, out = out.chunk(2, dim=1)
                h = h + residual
            skip = out if skip is None else skip + out
        return self.end(skip)

    def rows(self, mask: Tensor | None = None) -> Rows:
        """The same network, to be told one row after another; `mask` is `(B, 1, W)`."""
        return Rows(self, mask)


class Rows:
    """A `WaveNet2D` that is told one row at a time and remembers what later rows need of it.

    Each layer keeps the last rows of its input, as many as its convolution spans, so that a row costs the same
    however many came before. Weight norm is worked out once.
    """

    def __init__(self, net: WaveNet2D, mask: Tensor | None) -> None:
        self._mask, self._n_channels, self._kernel_size = mask, net.n_channels, net.kernel_size
        self._start, self._context, self._end = (_flat(conv) for conv in (net.start, net.context, net.end))
        self._layers = []
        for conv, res_skip, height, width in zip(net.dilated, net.res_skip, net.height_dilations, net.dilations):
            # Rows become channels, the uppermost first: one convolution over the columns then sees them all.
            weight = conv.weight.transpose(1, 2).flatten(1, 2)
            past: deque[Tensor] = deque(maxlen=height * (net.kernel_size - 1) + 1)
            padding = width * (net.kernel_size - 1) // 2
            self._layers.append((weight, conv.bias, height, width, padding, _flat(res_skip), past))

    def __call__(self, row: Tensor, features: Tensor) -> Tensor:
        """Map the next row `(B, in_channels, W)`, told `(B, context_channels, W)`, to `(B, out_channels, W)`."""
        told = F.conv1d(features, *self._context).chunk(len(self._layers), dim=1)
        h, skip = F.conv1d(row, *self._start), None
        for layer, condition in zip(self._layers, told):
            weight, bias, height, width, padding, res_skip, past = layer
            if self._mask is not None:
                h = h * self._mask.to(h.dtype)
            past.append(h)
            # What lies above the first row is zero: its taps are left out.
            seen = [*past][(len(past) - 1) % height :: height]
            taps = weight[:, weight.shape[1] - len(seen) * h.shape[1] :]
            gate = F.conv1d(torch.cat(seen, dim=1), taps, bias, padding=padding, dilation=width)
            a, b = (gate + condition).chunk(2, dim=1)
            out = F.conv1d(torch.tanh(a) * torch.sigmoid(b), *res_skip)
            if out.shape[1] > self._n_channels:
                residual, out = out.chunk(2, dim=1)
                h = h + residual
            skip = out if skip is None else skip + out
        assert skip is not None
        return F.conv1d(skip, *self._end)


def _flat(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    return conv.weight[..., 0], bias_of(conv)
