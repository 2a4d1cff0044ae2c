"""Learn two tasks by policy gradients, with normal, bounded and flow policies; a table and a picture."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium
import torch
from rich.progress import track

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import choose, launch, markdown, new_figure, save_figure
from doors import TwoDoors
from policies import POLICIES
from ppo import Learner

TASKS: dict[str, tuple[Callable[[], gymnasium.Env], dict[str, float]]] = {
    "doors": (TwoDoors, {"discount": 1.0, "scale": 0.2}),
    "pendulum": (lambda: gymnasium.make("Pendulum-v1"), {"discount": 0.9, "scale": 0.1}),
}
N_LAST = 5
N_ACTIONS = 5000


@dataclass
class Config:
    """What is learned, and for how long.

    Attributes:
        tasks: By the names above.
        policies: By the names in policies.py.
        steps: Steps of each task, over all environments.
        n_envs: Environments side by side.
        horizon: Steps of each before the policy is improved.
        learning_rate: Of Adam.
        seeds: Of weights, tasks and actions; one training for each.
        out: Where results are written.
    """

    tasks: list[str] = field(default_factory=lambda: [*TASKS])
    policies: list[str] = field(default_factory=lambda: [*POLICIES])
    steps: dict[str, int] = field(default_factory=lambda: {"doors": 20_000, "pendulum": 40_000})
    n_envs: int = 16
    horizon: int = 64
    learning_rate: float = 1e-3
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    out: str = "runs/control"


def learn(task: str, policy: str, seed: int, config: Config) -> tuple[Learner, dict[str, Any]]:
    """Learn one task with one policy; the mean return of the episodes that ended in each round."""
    make, settings = TASKS[task]
    learner = Learner(
        make, POLICIES[policy], n_envs=config.n_envs, learning_rate=config.learning_rate, seed=seed, **settings
    )
    started, curve, steps = time.process_time(), [], 0
    while steps < config.steps[task]:
        experience = learner.experience(config.horizon)
        learner.improve(experience)
        steps += config.horizon * config.n_envs
        if experience.returns:
            curve.append((steps, sum(experience.returns) / len(experience.returns)))
    last = [value for _, value in curve[-N_LAST:]]
    mean = sum(last) / len(last) if last else math.nan
    row = {"task": task, "policy": policy, "seed": seed, "return": mean, "curve": curve}
    return learner, {**row, "seconds": time.process_time() - started}


def table(rows: list[dict[str, Any]], config: Config) -> str:
    """The return at the end, seed by seed, policies by tasks, in Markdown."""
    lines = []
    for policy in config.policies:
        cells = []
        for task in config.tasks:
            own = [row for row in rows if (row["task"], row["policy"]) == (task, policy)]
            cells.append(", ".join(f"{row['return']:.1f}" for row in own))
            cells.append(f"{sum(row['seconds'] for row in own) / len(own):.0f}")
        lines.append([policy, *cells])
    header = [name for task in config.tasks for name in (task, "CPU s")]
    return markdown(["policy", *header], lines)


def draw(rows: list[dict[str, Any]], learners: dict[tuple[str, str], Learner], config: Config) -> Path:
    """Returns over the steps, and what the policies do: where they walk, or how they push a pendulum at rest."""
    figure, axes = new_figure(2, len(config.tasks), 3.6 * len(config.tasks), 4.6)
    for column, task in enumerate(config.tasks):
        for k, policy in enumerate(config.policies):
            for row in rows:
                if (row["task"], row["policy"]) == (task, policy):
                    label = policy if row["seed"] == config.seeds[0] else None
                    axes[0, column].plot(*zip(*row["curve"]), color=f"C{k}", label=label, linewidth=1)
            learner = learners[task, policy]
            observed, _ = learner.envs[0].reset(seed=0)
            seen = torch.as_tensor(observed, dtype=torch.float32).expand(N_ACTIONS, -1)
            actions = learner.policy.sample(N_ACTIONS, seen)[:, 0].clamp(learner.low[0].item(), learner.high[0].item())
            limits = (learner.low[0].item(), learner.high[0].item())
            axes[1, column].hist(actions.numpy(), 80, range=limits, histtype="step", color=f"C{k}", log=True)
        axes[0, column].set_title(f"{task}: return by steps", fontsize=9)
        axes[1, column].set_title(f"{task}: actions of the first seed at a start", fontsize=9)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7)
    return save_figure(figure, Path(config.out) / "policies.png", dpi=90)


def main(config: Config) -> None:
    """Learn, print the table, draw the picture."""
    choose(config.tasks, TASKS)
    choose(config.policies, POLICIES)
    torch.set_num_threads(1)
    rows, learners = [], {}
    for task, policy, seed in track([*product(config.tasks, config.policies, config.seeds)], "learning"):
        learner, row = learn(task, policy, seed, config)
        rows.append(row)
        learners.setdefault((task, policy), learner)
    text = table(rows, config)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    (out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(text)
    print(draw(rows, learners, config))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
