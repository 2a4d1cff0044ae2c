"""A task whose best memoryless policy has two modes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class TwoDoors(gymnasium.Env):
    """Walk through one of two doors, one of which is locked; nobody can see which.

    An action between -1 and 1 is the place of the wall that is walked into: the doors are at -0.7 and 0.7, each 0.2
    wide. Every attempt costs 1, and an episode ends behind the open door, or after 20 attempts. What is seen never
    changes, so that a policy cannot alternate: the best one walks to either door half of the time, 2 attempts on
    average. A policy of one mode must choose between one door, which is the wrong one in half of the episodes, and a
    wide spread, which mostly meets the wall.
    """

    DOOR = 0.7
    HALF_WIDTH = 0.1
    ATTEMPTS = 20

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.open = self.DOOR * self.np_random.choice((-1.0, 1.0))
        self.attempts = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.attempts += 1
        through = bool(abs(float(action[0]) - self.open) < self.HALF_WIDTH)
        return np.zeros(1, np.float32), -1.0, through, self.attempts >= self.ATTEMPTS, {}
