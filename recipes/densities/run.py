"""Train every family on every two-dimensional density; tables of log-likelihoods, and a picture for each density."""

from __future__ import annotations

import json
import sys
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
from families import FAMILIES, RATES, build, solve_exactly
from targets import TARGETS, Target, grid

from waveflow import Flow
from waveflow.distributions import StandardNormal

N_PICTURE = 120
N_SAMPLES = 4000

SPLITS = {"validation": 1_000_001, "test": 1_000_002}
"""Seeds of the samples that are scored. Settings are chosen on the first; the second is for the table alone."""


@dataclass
class Config:
    """What is trained, and for how long.

    Attributes:
        targets: Densities, by the names in targets.py.
        families: Flows, by the names in families.py.
        steps: Steps of Adam.
        batch_size: Fresh samples a step.
        learning_rate: At the start, times the family's `RATES`; it falls to zero along a cosine.
        split: Which samples are scored: `validation` to choose settings by, `test` for a table to report.
        n_test: How many.
        seeds: Of weights and training data, which are the same for every family; the tables have the means.
        jobs: Trainings at a time, one core each.
        out: Where results are written.
    """

    targets: list[str] = field(default_factory=lambda: [*TARGETS])
    families: list[str] = field(default_factory=lambda: [*FAMILIES])
    steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 1e-2
    split: str = "test"
    n_test: int = 20000
    seeds: list[int] = field(default_factory=lambda: [0])
    jobs: int = 2
    out: str = "runs/densities"


def train(target_name: str, family: str, seed: int, config: Config) -> dict[str, Any]:
    """Fit one family to one density, and write what the tables and the picture need."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    target, flow = Target(target_name), Flow(StandardNormal(2), build(family))

    def loss(step: int) -> Tensor:
        return -flow.log_prob(target.sample(config.batch_size, generator)).mean()

    seconds = fit(flow.parameters(), loss, config.steps, config.learning_rate * RATES.get(family, 1.0))
    solve_exactly(flow.eval())
    scored = target.sample(config.n_test, torch.Generator().manual_seed(SPLITS[config.split]))
    place = Path(config.out) / target_name
    place.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        log_q, log_p = flow.log_prob(scored), target.log_prob(scored)
        row = {
            "target": target_name,
            "family": family,
            "seed": seed,
            "split": config.split,
            "nats": log_q.mean().item(),
            "truth": log_p.mean().item(),
            "gap": (log_p - log_q).mean().item(),
            "gap_error": ((log_p - log_q).std() / len(scored) ** 0.5).item(),
            "parameters": sum(p.numel() for p in flow.parameters()),
            "seconds": seconds,
        }
        if seed == config.seeds[0]:
            density = flow.log_prob(grid(N_PICTURE)).exp().view(N_PICTURE, N_PICTURE)
            np.savez_compressed(
                place / f"{family}.npz", density=density.numpy(), samples=flow.sample(N_SAMPLES).numpy()
            )
    (place / f"{family}-{seed}.json").write_text(json.dumps(row, indent=2) + "\n")
    return row


def train_all(config: Config) -> list[dict[str, Any]]:
    """Fit every family to every density, some at a time, in the order of the config."""
    jobs = list(product(config.targets, config.families, config.seeds))
    with ProcessPoolExecutor(config.jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train, *job, config): job for job in jobs}
        done = {running[future]: future.result() for future in track(as_completed(running), "training", len(jobs))}
    return [done[job] for job in jobs]


def tables(rows: list[dict[str, Any]], config: Config) -> str:
    """Mean log-likelihood of fresh data, nats, families by densities, and what is missing from the density's own."""

    def mean(key: str, family: str, target: str | None = None) -> float:
        own = [row[key] for row in rows if row["family"] == family and target in (None, row["target"])]
        return sum(own) / len(own)

    def lines(key: str) -> list[list[str]]:
        return [
            [
                family,
                *(f"{mean(key, family, target):.3f}" for target in config.targets),
                f"{mean('parameters', family):.0f}",
                f"{mean('seconds', family):.0f}",
            ]
            for family in config.families
        ]

    header = [*config.targets, "parameters", "CPU s"]
    truth = ["the density itself", *(f"{mean('truth', config.families[0], t):.3f}" for t in config.targets), "", ""]
    nats = markdown([f"nats, {config.split}", *header], [*lines("nats"), truth])
    return nats + "\n" + markdown(["behind the density itself", *header], lines("gap"))


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
    """Train, print the tables, draw the pictures."""
    choose(config.targets, TARGETS)
    choose(config.families, FAMILIES)
    choose([config.split], SPLITS)
    text = tables(train_all(config), config)
    (Path(config.out) / "table.md").write_text(text)
    print(text)
    for name in config.targets:
        print(draw(name, config))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
