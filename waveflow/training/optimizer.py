"""AdamW for everything, or Muon for the matrices of networks and AdamW for the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection
from waveflow.ops.processor import bfloat16_products
from waveflow.training.config import OptimizerConfig

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ADAMW = {"betas": "betas", "eps": "eps", "weight_decay": "weight_decay"}
"""Settings of `OptimizerConfig` by their names in a group of parameters; the rate is the schedule's."""
MUON = {"muon_scale": "scale", "muon_decay": "decay"}
"""The same for Muon's own group."""


class Muon(torch.optim.AdamW):
    """Steps of equal size in all directions of a matrix, for the matrices; AdamW for everything else.

        m <- beta m + g,    w <- (1 - lr decay) w - 0.2 lr sqrt(max(rows, columns)) orthogonal(g + beta m)

    A convolution's kernel is taken as a matrix of its outputs by everything else, and one that is taller than wide as
    blocks of rows; so are the two halves of a gate, which costs less. The factor 0.2 gives steps the size of Adam's, so
    that both take rates of one size.

    Source: Jordan et al., Muon (2024); the factor: Moonlight (arXiv:2502.16982).

    Args:
        others: What AdamW steps: the first group.
        matrices: What Muon steps, of two dimensions or more: the second group.
        lr: Learning rate, or AdamW's where `scale` is not 1.
        scale: Muon's rate, as a multiple.
        momentum: beta.
        decay: Muon's weight decay.
        tallest: Most rows of a block.
        betas, eps, weight_decay: AdamW's.
        fused: Let AdamW use its fused kernel.
    """

    def __init__(
        self,
        others: Sequence[nn.Parameter],
        matrices: Sequence[nn.Parameter],
        lr: float,
        *,
        scale: float = 1.0,
        momentum: float = 0.95,
        decay: float = 0.0,
        tallest: int | None = None,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        fused: bool = False,
    ) -> None:
        own = {"scale": scale, "momentum": momentum, "decay": decay, "tallest": tallest}
        groups: list[dict[str, Any]] = [{"params": list(others), "scale": 1.0}, {"params": list(matrices), **own}]
        super().__init__(groups, lr, betas, eps, weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        matrices = self.param_groups[1]
        gradients = [weight.grad for weight in matrices["params"]]
        self._step_matrices(matrices)
        # AdamW passes over what has no gradient.
        for weight in matrices["params"]:
            weight.grad = None
        super().step()
        for weight, gradient in zip(matrices["params"], gradients):
            weight.grad = gradient

    def _step_matrices(self, group: dict) -> None:
        rate = group["lr"] * group["scale"]
        shapes: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for weight in group["params"]:
            if weight.grad is None:
                continue
            if not self.state[weight]:
                # AdamW looks for the number of steps of each weight when it loads a state.
                self.state[weight].update(step=torch.zeros(()), moment=torch.zeros_like(weight))
            self.state[weight]["step"] += 1
            moment = self.state[weight]["moment"]
            moment.mul_(group["momentum"]).add_(weight.grad)
            towards = blocks(weight.grad + group["momentum"] * moment, group["tallest"])
            shapes.setdefault(towards.shape, []).append((weight, towards))
        for found in shapes.values():
            stacked = orthogonal(torch.stack([towards for _, towards in found]))
            size = 0.2 * max(stacked.shape[-2:]) ** 0.5
            for (weight, _), update in zip(found, stacked):
                weight.mul_(1 - rate * group["decay"])
                weight.add_(update.reshape(weight.shape).to(weight.dtype), alpha=-rate * size)


def make_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool = False) -> torch.optim.Optimizer:
    """The optimizer of the weights of a model that train.

    `lr` of every group is what a schedule sets, the same for all.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    adamw = {**_settings(config, ADAMW), "fused": fused}
    if config.name == "adamw":
        return torch.optim.AdamW(trained, config.lr, **adamw)
    matrices = [weight for weight in network_matrices(model) if weight.requires_grad]
    taken = {id(weight) for weight in matrices}
    others = [weight for weight in trained if id(weight) not in taken]
    tallest = getattr(getattr(model, "config", None), "n_channels", None)
    return Muon(others, matrices, config.lr, tallest=tallest, **_settings(config, MUON), **adamw)


def refresh(optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
    """Give an optimizer of `make_optimizer` the settings of a config, in place of those of a state it has loaded."""
    for group in optimizer.param_groups:
        group |= _settings(config, ADAMW)
    if isinstance(optimizer, Muon):
        optimizer.param_groups[1] |= _settings(config, MUON)


def _settings(config: OptimizerConfig, names: dict[str, str]) -> dict[str, Any]:
    values = {key: getattr(config, name) for name, key in names.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def network_matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of linear layers and convolutions, those of weight norm included.

    What is not among them: biases, gains, lengths under weight norm, matrices that are bijections themselves, whose
    inverse suffers from large steps, and single layers that a bijection holds, such as the one of LapGlow's gain.
    """
    held = {id(child) for module in model.modules() if isinstance(module, Bijection) for child in module.children()}
    for module in model.modules():
        if isinstance(module, LAYERS) and id(module) not in held:
            for weight in module.parameters():
                if weight.dim() > 1 and len(weight) < weight.numel() > weight[0].numel():
                    yield weight


def blocks(weight: Tensor, tallest: int | None = None) -> Tensor:
    """A weight `(O, ...)` as `(n, rows, columns)`: blocks of rows no taller than wide or than told."""
    matrix = weight.flatten(1)
    rows, columns = matrix.shape
    most = min(columns, tallest or rows)
    n = next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)
    return matrix.view(n, rows // n, columns)


@functools.cache
def operand_dtype(device: torch.device) -> torch.dtype:
    """The type in which rough matrix products are fastest: bfloat16, or float32 on a CPU that has no such products."""
    return torch.float32 if device.type == "cpu" and not bfloat16_products() else torch.bfloat16


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrices, by Newton and Schulz's iteration; `(..., rows, columns)`."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    x = x.to(operand_dtype(matrices.device))
    turned = x.shape[-2] > x.shape[-1]
    x = x.mT if turned else x
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if turned else x).float()
