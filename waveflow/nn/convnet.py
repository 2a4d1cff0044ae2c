"""The small convolutional network that conditions couplings of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.nn.context import Context, as_context, required
from waveflow.nn.layers import zeroed
from waveflow.settings import require_counts


class ConvNet(nn.Module):
    """Three convolutions, 3x3, 1x1 and 3x3, with the context added to every pixel after the first.

    The last starts at zero, so that a fresh coupling is the identity.

    Source: the network in the couplings of Glow (arXiv:1807.03039), which is 512 channels wide there.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of the two hidden layers.
    """

    def __init__(self, in_channels: int, out_channels: int, *, context_channels: int = 0, n_channels: int = 64) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, out_channels=out_channels, n_channels=n_channels)
        require_counts(0, context_channels=context_channels)
        self.start = nn.Conv2d(in_channels, n_channels, 3, padding=1)
        self.context = nn.Linear(context_channels, n_channels, bias=False) if context_channels else None
        self.middle = nn.Conv2d(n_channels, n_channels, 1)
        self.end = zeroed(nn.Conv2d(n_channels, out_channels, 3, padding=1))

    def forward(self, x: Tensor, context: Tensor | Context | None = None) -> Tensor:
        """Map `(B, in_channels, H, W)`, told features `(B, context_channels)`, to `(B, out_channels, H, W)`.

        Raises:
            ValueError: It was built for context and none is given.
        """
        h = self.start(x)
        if self.context is not None:
            features = required(as_context(context).features, self.context.in_features)
            h = h + self.context(features)[:, :, None, None]
        return self.end(torch.relu(self.middle(torch.relu(h))))
