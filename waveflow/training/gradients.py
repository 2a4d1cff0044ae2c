"""The gradient of a step, over parts of the batch and over processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from waveflow.training.config import TrainConfig, n_chosen
from waveflow.training.objective import Part
from waveflow.training.team import Team


def add_gradients(
    objective: nn.Module, parts: Sequence[Part], n_samples: float, config: TrainConfig, team: Team
) -> Tensor:
    """Add up the gradient of the loss over this process's parts; the sums of likelihood and distance, `(2,)`.

    DDP takes the mean over processes, so that the sum over them wants a factor of their number.
    """
    device, n_synthesised = team.device, n_chosen(config)
    weight = config.objective.spectral_weight / max(1, n_synthesised)
    total = torch.zeros(2, dtype=torch.float64, device=device)
    for i, part in enumerate(parts):
        waits = team.size > 1 and i < len(parts) - 1
        with objective.no_sync() if waits else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, enabled=config.train.bf16):
                likelihood, distance = objective(part.to(device))
            (team.size * (weight * distance - likelihood / n_samples)).backward()
        total += torch.stack([likelihood.detach(), distance.detach()])
    return total
