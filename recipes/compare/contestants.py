"""Every vocoder at a size that learns something on one core, and what it minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from waveflow.losses import nats_per_sample
from waveflow.models import MelFlow, build

NODE = {
    **{"n_channels": 48, "n_layers": 3, "dilation_base": 2, "factors": [16, 2, 2, 2]},
    **{"solver": "rk4", "n_steps": 2, "synthesis_solver": "rk4", "synthesis_steps": 2},
}

CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "waveglow": ("waveglow", {"n_flows": 6, "n_channels": 32, "n_layers": 4, "n_early_every": 3}),
    "squeezewave": ("squeezewave", {"n_flows": 8, "n_channels": 96, "n_layers": 3}),
    "waveflow": ("waveflow", {"n_flows": 4, "n_channels": 16, "n_layers": 4}),
    "flowavenet": ("flowavenet", {"n_blocks": 6, "n_flows": 2, "n_channels": 32, "n_blocks_per_split": 3}),
    "wavenode": ("wavenode", NODE),
    "wavenode, matched": ("wavenode", NODE),
    "lapglow": ("lapglow", {"n_flows": 6, "n_channels": 96}),
}


def fresh(name: str) -> MelFlow:
    """A contestant with fresh weights, told NVIDIA's mel as all are."""
    model, config = CONTESTANTS[name]
    return build(model, mel="nvidia", **config)


def likelihood_loss(model: MelFlow, audio: Tensor, mel: Tensor) -> Tensor:
    """Negative log-density per sample, nats."""
    return -nats_per_sample(*model(audio, mel))


def matching_loss(model: MelFlow, audio: Tensor, mel: Tensor) -> Tensor:
    """Distance of the velocities from those of straight paths; see `WaveNODE.flow_matching_loss`."""
    return model.flow_matching_loss(audio, mel)


def loss_of(name: str) -> Callable[[MelFlow, Tensor, Tensor], Tensor]:
    """What a contestant minimises."""
    return matching_loss if name.endswith("matched") else likelihood_loss
