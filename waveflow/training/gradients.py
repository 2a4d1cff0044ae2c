"""The gradient of a step, over parts of the batch and over processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from waveflow.training.config import TrainConfig, n_chosen
from waveflow.training.objective import Part
from waveflow.training.team import Team

NORM_DECAY = 0.98
"""Of the running mean of the gradient's norm, by which a step is told to be unusual."""


def add_gradients(
    objective: nn.Module, parts: Sequence[Part], n_samples: float, config: TrainConfig, team: Team
) -> Tensor:
    """Add up the gradient of the loss over this process's parts; the objective's three sums, `(3,)`.

    DDP takes the mean over processes, so that the sum over them wants a factor of their number.
    """
    device, n_synthesised = team.device, n_chosen(config)
    weights = config.objective.spectral_weight, config.objective.own_weight
    weight, own_weight = (weight / max(1, n_synthesised) for weight in weights)
    total = torch.zeros(3, dtype=torch.float64, device=device)
    for i, part in enumerate(parts):
        is_last = i == len(parts) - 1
        with objective.no_sync() if isinstance(objective, DistributedDataParallel) and not is_last else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=config.train.bf16):
                likelihood, distance, own = objective(part.to(device))
            (team.size * (weight * distance + own_weight * own - likelihood / n_samples)).backward()
        total += torch.stack([likelihood.detach(), distance.detach(), own.detach()])
    return total


def is_usual(norm: float, usual: float, n_seen: int, times: float) -> tuple[bool, float]:
    """Whether to take a step: one whose gradient is far from usual would spoil more than it teaches.

    Args:
        norm: Of this step's gradient.
        usual: Running mean of the norms before, which began at 0.
        n_seen: How many those were.
        times: Most of it, as a multiple of the mean; infinite for any that is finite.

    Returns:
        That, and the running mean with this norm, in which an unusual one counts as the largest that is usual.
    """
    if not math.isfinite(norm):
        return False, usual
    most = times * usual / (1 - NORM_DECAY**n_seen) if math.isfinite(times) else math.inf
    return norm <= most, NORM_DECAY * usual + (1 - NORM_DECAY) * min(norm, most)
