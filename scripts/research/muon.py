"""Muon: momentum whose matrices are made orthogonal before they are subtracted."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Steps of equal size in all directions of a weight matrix.

        m <- beta m + g,    w <- (1 - lr decay) w - 0.2 lr sqrt(max(rows, columns)) orthogonal(g + beta m)

    A convolution's kernel is taken as a matrix of its outputs by everything else; tall ones as blocks of rows, which
    cost less: the two halves of a gate are a block each.
    The factor 0.2 gives steps the size of Adam's, so that both take the same learning rate.

    Source: Jordan et al., Muon (2024); the factor: Moonlight (arXiv:2502.16982).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        decay: float = 0.0,
        tallest: int | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "tallest": tallest})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                moment = self.state[weight].setdefault("moment", torch.zeros_like(weight))
                moment.mul_(group["momentum"]).add_(weight.grad)
                towards = blocks(weight.grad + group["momentum"] * moment, group["tallest"])
                shapes.setdefault(towards.shape, []).append((weight, towards))
            for found in shapes.values():
                stacked = orthogonal(torch.stack([towards for _, towards in found]))
                size = 0.2 * max(stacked.shape[-2:]) ** 0.5
                for (weight, _), update in zip(found, stacked):
                    weight.mul_(1 - group["lr"] * group["decay"])
                    weight.add_(update.reshape(weight.shape).to(weight.dtype), alpha=-group["lr"] * size)


def blocks(weight: Tensor, tallest: int | None = None) -> Tensor:
    """A weight `(O, ...)` as `(n, rows, columns)`: blocks of rows no taller than wide or than told."""
    matrix = weight.flatten(1)
    rows, columns = matrix.shape
    most = min(columns, tallest or rows)
    n = next((n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most), 1)
    return matrix.view(n, rows // n, columns)


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrices, by Newton and Schulz's iteration in bfloat16; `(..., rows, columns)`."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    x = x.bfloat16()
    turned = x.shape[-2] > x.shape[-1]
    x = x.mT if turned else x
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if turned else x).float()
