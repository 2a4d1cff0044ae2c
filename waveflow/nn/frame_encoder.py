"""What a mel says about each of its frames, worked out once for all couplings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.nn.layers import zeroed
from waveflow.settings import require_counts

TOLD_SCALE = 4.0
"""An optimizer's steps are of one size for all weights: couplings that are told features of unit size, smaller than
log-mels are, would follow the mel too slowly."""


class FrameEncoder(nn.Module):
    """A residual network over the features of each frame alone.

        h_0 = start((x - centre) / spread),    h_{i+1} = h_i + narrow_i(gelu(widen_i(norm_i(h_i)))),    y = 4 h_n

    Blocks as ConvNeXt's (arXiv:2201.03545) without their convolution, twice as wide inside: what a frame is told of its
    neighbours is among its features, so that the ends of an item, padding and streams need no care here. `narrow`
    starts at zero, so that a fresh encoder is linear.

    Args:
        in_channels: Features of a frame.
        n_channels: Width of the hidden state and of the output.
        n_blocks: Number of blocks, 0 or more.
        centre: What features lie about, one number or `in_channels` of them.
        spread: How far from it they lie, likewise.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        in_channels: int,
        n_channels: int,
        n_blocks: int,
        *,
        centre: Sequence[float] = (0.0,),
        spread: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, n_channels=n_channels)
        require_counts(0, n_blocks=n_blocks)
        self.register_buffer("centre", torch.tensor(centre), persistent=False)
        self.register_buffer("spread", torch.tensor(spread), persistent=False)
        self.start = nn.Linear(in_channels, n_channels)
        self.norm = nn.ModuleList(nn.LayerNorm(n_channels) for _ in range(n_blocks))
        self.widen = nn.ModuleList(nn.Linear(n_channels, 2 * n_channels) for _ in range(n_blocks))
        self.narrow = nn.ModuleList(zeroed(nn.Linear(2 * n_channels, n_channels)) for _ in range(n_blocks))

    @property
    def n_products(self) -> int:
        """Multiply-accumulates for one frame."""
        return sum(weight.numel() for weight in self.parameters() if weight.dim() == 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in_channels)` to `(..., n_channels)`."""
        h = self.start(((x - self.centre) / self.spread).to(self.start.weight.dtype))
        for norm, widen, narrow in zip(self.norm, self.widen, self.narrow):
            h = h + narrow(F.gelu(widen(norm(h))))
        return TOLD_SCALE * h
