"""Rows of a matrix, each changed as told by the rows before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, sum_log_det
from waveflow.nn.context import Context, as_context
from waveflow.nn.wavenet2d import WaveNet2D


class HeightAutoregressive(Bijection):
    """Scale and shift each row of a matrix, as told by all rows before it in a given order.

        z_first = x_first,    z_i = exp(log_s_i) * x_i + t_i,    (t_i, log_s_i) = conditioner(x_<i, context_i)

    Forward is one pass of the conditioner; the inverse goes row by row, each told by the rows before, of which the
    conditioner remembers what it needs. Each row of the context belongs to a row of the data.

    Source: WaveFlow (arXiv:1912.01219); the first row passes as in the code of PaddlePaddle's Parakeet.

    Args:
        conditioner: A `WaveNet2D`, or what behaves like one: maps rows `(B, 1, H - 1, L)` to t and log_s as channels,
            `(B, 2, H - 1, L)`, causal over rows, and its `rows(mask)` does the same one row at a time.
        order: The rows' indices in the order in which they are taken.

    Raises:
        ValueError: The order has fewer than two rows, or not each row once.
    """

    index: Tensor
    inverse_index: Tensor

    def __init__(self, conditioner: WaveNet2D, order: Sequence[int]) -> None:
        super().__init__()
        if len(order) < 2 or sorted(order) != list(range(len(order))):
            raise ValueError(
                f"order is {list(order)}, expected each of 0 to {max(len(order) - 1, 1)} once, and at least two rows"
            )
        self.conditioner, self.order = conditioner, tuple(order)
        index = torch.tensor(self.order)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inverse_index", index.argsort(), persistent=False)

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: `(B, H, L)`, the rows as channels.
            context: Features `(B, C * H, L)`, the row fastest; mask `(B, 1, L)`.

        Returns:
            `z` of x's shape, its rows where they were; `log_det` of shape `(B,)`, nats.

        Raises:
            ValueError: x has another number of rows, or the context has no features.
        """
        told, mask = self._told(x, context)
        rows = x.index_select(1, self.index)
        features = told.index_select(2, self.index[1:])
        t, log_s = self.conditioner(rows[:, None, :-1], Context(features, mask)).to(x.dtype).unbind(1)
        z = torch.cat([rows[:, :1], torch.exp(log_s) * rows[:, 1:] + t], dim=1)
        return z.index_select(1, self.inverse_index), sum_log_det(log_s, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._invert(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        x, log_s = self._invert(z, context)
        return x, -sum_log_det(torch.stack(log_s, dim=1), context)

    def _invert(self, z: Tensor, context: Tensor | Context | None) -> tuple[Tensor, list[Tensor]]:
        told, mask = self._told(z, context)
        conditioner = self.conditioner.rows(mask)
        rows, log_scales = [z[:, self.order[0]]], []
        for i in self.order[1:]:
            t, log_s = conditioner(rows[-1][:, None], told[:, :, i]).to(z.dtype).unbind(1)
            rows.append((z[:, i] - t) * torch.exp(-log_s))
            log_scales.append(log_s)
        return torch.stack(rows, dim=1).index_select(1, self.inverse_index), log_scales

    def _told(self, x: Tensor, context: Tensor | Context | None) -> tuple[Tensor, Tensor | None]:
        features, mask = as_context(context)
        height = len(self.order)
        if x.dim() != 3 or x.shape[1] != height:
            raise ValueError(f"data has shape {tuple(x.shape)}, expected (B, {height}, L): one channel a row")
        if features is None:
            raise ValueError(f"context is none, expected features (B, C * {height}, {x.shape[-1]}); pass them too")
        return features.view(x.shape[0], features.shape[1] // height, height, x.shape[-1]), mask
