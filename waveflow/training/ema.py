"""A running average of the weights, which is what gets validated and published."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """Exponential moving average of a model's weights.

        average <- d average + (1 - d) weights,    d = min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ...

    The shorter memory at the start lets go of the random weights. Buffers are copied.

    Source: Polyak averaging in its exponential form, with the warm-up of TensorFlow's ExponentialMovingAverage.

    Attributes:
        model: A copy of the model with the averaged weights, in eval mode, without gradients.
        n_updates: Updates so far.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model: Model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.n_updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's present weights in."""
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.model.buffers(), model.buffers()):
            average.copy_(buffer)
        self.n_updates += 1
