"""The learning rate over a run."""

from __future__ import annotations

import math

from waveflow.training.config import ScheduleConfig


def rate_factor(step: int, n_steps: int, config: ScheduleConfig) -> float:
    """Share of the full learning rate at a step.

        rise = (step + 1) / warmup,  at most 1
        cosine:    fall = final + (1 - final) (1 + cos(pi p)) / 2,   p = (step - warmup) / (n_steps - warmup)
        constant:  fall = final + (1 - final) min(1, (n_steps - step) / cooldown)

    Source: cosine after SGDR (arXiv:1608.03983), without restarts; constant with cooldown as in arXiv:2405.18392.

    Args:
        step: Steps done, 0 to n_steps - 1.
        n_steps: Steps of the whole run.
        config: Shape and lengths.
    """
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.shape == "cosine":
        progress = max(0, step - config.warmup) / max(1, n_steps - config.warmup)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    else:
        fall = min(1.0, (n_steps - step) / config.cooldown) if config.cooldown else 1.0
    return rise * (config.final + (1 - config.final) * fall)
