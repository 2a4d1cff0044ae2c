"""Train every family on every two-dimensional density; a table of log-likelihoods, and a picture for each density."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import choose, fit, launch, markdown, new_figure, save_figure
from families import FAMILIES, RATES, build
from targets import TARGETS, Target, grid

from waveflow import Flow
from waveflow.distributions import StandardNormal

N_PICTURE = 120
N_SAMPLES = 4000


@dataclass
class Config:
    """What is trained, and for how long.

    Attributes:
        targets: Densities, by the names in targets.py.
        families: Flows, by the names in families.py.
        steps: Steps of Adam.
        batch_size: Fresh samples a step.
        learning_rate: At the start, times the family's `RATES`; it falls to zero along a cosine.
        n_test: Samples that are scored.
        seed: Of weights and data; the data are the same for every family.
        jobs: Trainings at a time, one core each.
        out: Where results are written.
    """

    targets: list[str] = field(default_factory=lambda: [*TARGETS])
    families: list[str] = field(default_factory=lambda: [*FAMILIES])
    steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 1e-2
    n_test: int = 20000
    seed: int = 0
    jobs: int = 2
    out: str = "runs/densities"


def train(target_name: str, family: str, config: Config) -> dict[str, Any]:
    """Fit one family to one density, and write what the table and the picture need."""
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    target, flow = Target(target_name), Flow(StandardNormal(2), build(family))

    def loss(step: int) -> Tensor:
        return -flow.log_prob(target.sample(config.batch_size, generator)).mean()

    seconds = fit(flow.parameters(), loss, config.steps, config.learning_rate * RATES.get(family, 1.0))
    flow.eval()
    test = target.sample(config.n_test, torch.Generator().manual_seed(config.seed + 1))
    with torch.no_grad():
        row = {
            "target": target_name,
            "family": family,
            "nats": flow.log_prob(test).mean().item(),
            "truth": target.log_prob(test).mean().item(),
            "parameters": sum(p.numel() for p in flow.parameters()),
            "seconds": seconds,
        }
        density = flow.log_prob(grid(N_PICTURE)).exp().view(N_PICTURE, N_PICTURE)
        samples = flow.sample(N_SAMPLES)
    place = Path(config.out) / target_name
    place.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(place / f"{family}.npz", density=density.numpy(), samples=samples.numpy())
    (place / f"{family}.json").write_text(json.dumps(row, indent=2) + "\n")
    return row


def train_all(config: Config) -> list[dict[str, Any]]:
    """Fit every family to every density, some at a time, in the order of the config."""
    pairs = list(product(config.targets, config.families))
    with ProcessPoolExecutor(config.jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train, *pair, config): pair for pair in pairs}
        done = {running[future]: future.result() for future in track(as_completed(running), "training", len(pairs))}
    return [done[pair] for pair in pairs]


def table(rows: list[dict[str, Any]], config: Config) -> str:
    """Mean log-likelihood of fresh data, nats, families by densities, in Markdown; last the density itself."""

    def along(family: str, cell: Callable[[dict[str, Any]], str]) -> list[str]:
        return [cell(row) for row in rows if row["family"] == family]

    lines = []
    for family in config.families:
        own = [row for row in rows if row["family"] == family]
        mean_seconds = sum(row["seconds"] for row in own) / len(own)
        nats = along(family, lambda row: f"{row['nats']:.3f}")
        lines.append([family, *nats, str(own[0]["parameters"]), f"{mean_seconds:.0f}"])
    truth = along(config.families[0], lambda row: f"{row['truth']:.3f}")
    lines.append(["the density itself", *truth, "", ""])
    return markdown(["family", *config.targets, "parameters", "CPU s"], lines)


def draw(target_name: str, config: Config) -> Path:
    """A picture of one density: its own and every family's above, samples below."""
    target, place = Target(target_name), Path(config.out) / target_name
    own = target.log_prob(grid(N_PICTURE)).exp().view(N_PICTURE, N_PICTURE).numpy()
    columns = {"the density itself": (own, target.sample(N_SAMPLES, torch.Generator().manual_seed(1)).numpy())}
    for family in config.families:
        stored = np.load(place / f"{family}.npz")
        columns[family] = stored["density"], stored["samples"]
    figure, axes = new_figure(2, len(columns), 2 * len(columns), 4.3)
    for (name, (density, samples)), (above, below) in zip(columns.items(), axes.T):
        above.imshow(density.T, origin="lower", extent=(-4, 4, -4, 4), vmin=0, vmax=own.max(), cmap="magma")
        below.plot(*samples.T, ",", color="black", alpha=0.5)
        above.set_title(name, fontsize=9)
        for axis in (above, below):
            axis.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", xticks=[], yticks=[])
    return save_figure(figure, Path(config.out) / f"{target_name}.png")


def main(config: Config) -> None:
    """Train, print the table, draw the pictures."""
    choose(config.targets, TARGETS)
    choose(config.families, FAMILIES)
    text = table(train_all(config), config)
    (Path(config.out) / "table.md").write_text(text)
    print(text)
    for name in config.targets:
        print(draw(name, config))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
