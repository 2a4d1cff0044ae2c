"""Channels in another order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, zero_log_det
from waveflow.bijections.checks import require_channels
from waveflow.nn.context import Context


class Permutation(Bijection):
    """Put the channels in another order, `z[:, i] = x[:, order[i]]`; log_det is 0.

    Args:
        order: Each channel's index once.

    Raises:
        ValueError: It is not.
    """

    index: Tensor
    inverse_index: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"order is {list(order)}, expected each of 0 to {len(order) - 1} once")
        self.order = tuple(order)
        index = torch.tensor(self.order)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inverse_index", index.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to `(B, C, ...)`.

        Raises:
            ValueError: x has another number of channels.
        """
        require_channels(x, len(self.order))
        return x.index_select(1, self.index), zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        require_channels(z, len(self.order))
        return z.index_select(1, self.inverse_index)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z), zero_log_det(z)
