"""What of a recording is clipped."""

from __future__ import annotations

import torch
from torch import Tensor

# Three samples at full scale (8-bit audio reaches 0.992 of it) that differ by less than any unclipped speech does.
FULL_SCALE, STILL = 0.99, 1e-3
CLIPPED_SHARE = 5e-4
"""A recording with a larger share of clipped samples is called clipped."""


class Clipping:
    """Counts clipped samples: those at full scale which both neighbours equal, nearly; and those of float files beyond
    full scale, which 16 bits would clip.

    It must see a recording at its own rate, before mixing and resampling round its flat tops off.
    """

    def __init__(self) -> None:
        self.count, self.beyond, self.total = torch.zeros(1), torch.zeros(1), 0

    def watch(self, block: Tensor) -> None:
        """Look at the next block, `(channels, T)`, full scale ±1."""
        loud = block[:, 1:].abs() >= FULL_SCALE
        still = loud & (block.diff().abs() < STILL)
        self.count = self.count + (still[:, 1:] & still[:, :-1]).sum(-1)
        self.beyond = self.beyond + (block.abs() > 1).sum(-1)
        self.total += block.shape[-1]

    @property
    def share(self) -> float:
        """Share of clipped samples, in the channel that has most of them."""
        return float(self.count.max()) / max(self.total, 1)

    @property
    def share_beyond(self) -> float:
        """Share of samples beyond full scale, in the channel that has most of them."""
        return float(self.beyond.max()) / max(self.total, 1)
