"""From the mel's frame rate to the sample rate by transposed convolutions over bands and time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as weight_normed

from waveflow.nn.grouping import require_groups
from waveflow.settings import require_lists_of_counts

SLOPE = 0.4


class MelUpsample2d(nn.Module):
    """Bring a mel to the sample rate: each layer multiplies the rate, looks one band up and down, and rectifies.

        h_{i+1} = leaky_relu(conv_i(h_i)),   kernel 3 x 2 s_i, stride 1 x s_i

    A sample is told by frames up to one and a half hops away on each side.

    Source: ClariNet (arXiv:1807.07281); used in FloWaveNet (arXiv:1811.02155) and WaveFlow (arXiv:1912.01219).

    Args:
        factors: The s_i; their product is the hop.
    """

    def __init__(self, factors: Sequence[int]) -> None:
        super().__init__()
        require_lists_of_counts(factors=factors)
        self.factors = tuple(factors)
        self.convs = nn.ModuleList(
            weight_normed(nn.ConvTranspose2d(1, 1, (3, 2 * s), stride=(1, s), padding=(1, s // 2)))
            for s in self.factors
        )

    def forward(self, mel: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Map `(B, n_mels, F)` to `(B, n_mels, F * hop_length)`.

        Where `n_frames` `(B,)` is given, what lies beyond an item's frames is silent, as beyond the end of an
        item alone.
        """
        h = mel[:, None]
        for conv, factor in zip(self.convs, self.factors):
            if n_frames is not None:
                inside = torch.arange(h.shape[-1], device=h.device) < n_frames.to(h.device)[:, None]
                h = h * inside[:, None, None].to(h.dtype)
                n_frames = n_frames * factor
            # An odd factor leaves one sample too many.
            h = F.leaky_relu(conv(h), SLOPE)[..., : h.shape[-1] * factor]
        return h[:, 0]


def two_factors(hop_length: int) -> list[int]:
    """The two factors of a hop that are closest to each other, the smaller first: 16, 16 for 256."""
    smaller = next(s for s in range(math.isqrt(hop_length), 0, -1) if hop_length % s == 0)
    return [smaller, hop_length // smaller]


def check_factors(factors: Sequence[int] | None, hop_length: int, n_group: int) -> list[int]:
    """The factors of the upsampling, `two_factors` unless given.

    Raises:
        ValueError: Their product is not the hop, or n_group does not divide the hop.
    """
    factors = two_factors(hop_length) if factors is None else factors
    require_lists_of_counts(upsample_factors=factors)
    if math.prod(factors) != hop_length:
        raise ValueError(
            f"upsample_factors={factors} multiply to {math.prod(factors)}, expected hop_length={hop_length}; "
            f"give factors of it, such as {two_factors(hop_length)}"
        )
    require_groups(hop_length, n_group)
    return list(factors)
