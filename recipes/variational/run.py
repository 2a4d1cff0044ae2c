"""Infer with planar, radial, inverse and neural autoregressive posteriors of growing length; a table and a picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

sys.path.append(str(Path(__file__).resolve().parents[1]))

import vae
from common import choose, launch, markdown, new_figure, save_figure
from densities.targets import grid
from energies import NAMES, infer, log_density
from posteriors import FAMILIES

from waveflow import Flow

N_PICTURE = 200
N_SAMPLES = 50_000


@dataclass
class Config:
    """What is inferred, and for how long.

    Attributes:
        targets: Energies, by the names in energies.py; none to leave them out.
        families: Posteriors, by the names in posteriors.py.
        lengths: Flows of a posterior for an energy, one training for each; of the autoregressive families a quarter
            as many.
        steps: Steps of Adam for an energy.
        batch_size: Draws a step.
        n_test: Draws that the gap is measured on.
        vae_lengths: As `lengths`, for the posterior of the autoencoder; none to leave it out.
        vae_steps: Steps of Adam for an autoencoder.
        vae_batch_size: Digits a step.
        vae_draws: Draws for each held-out digit.
        vae_seeds: Autoencoders of a kind, whose bounds are averaged.
        learning_rate: At the start, for energies; it falls to zero along a cosine.
        vae_learning_rate: The same for autoencoders.
        seed: Of weights and draws; autoencoders count up from it.
        out: Where results are written.
    """

    targets: list[str] = field(default_factory=lambda: [*NAMES])
    families: list[str] = field(default_factory=lambda: [*FAMILIES])
    lengths: list[int] = field(default_factory=lambda: [4, 8, 16])
    steps: int = 1000
    batch_size: int = 256
    n_test: int = 20000
    vae_lengths: list[int] = field(default_factory=lambda: [0, 4, 16])
    vae_steps: int = 1000
    vae_batch_size: int = 128
    vae_draws: int = 100
    vae_seeds: int = 1
    learning_rate: float = 5e-3
    vae_learning_rate: float = 4e-3
    seed: int = 0
    out: str = "runs/variational"


def length_of(family: str, length: int) -> int:
    """Autoregressions each do much more than a planar or radial flow."""
    return length if family in ("planar", "radial") else length // 4


def infer_energies(config: Config) -> tuple[list[dict[str, Any]], dict[str, Flow]]:
    """Every family at every length on every energy; also the longest flow of each family on each."""
    jobs = [(t, f, length) for t in config.targets for f in config.families for length in config.lengths]
    rows, longest = [], {}
    for target, family, length in track(jobs, "energies"):
        n_flows = length_of(family, length)
        flow, row = infer(
            target,
            family,
            n_flows,
            steps=config.steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            n_test=config.n_test,
            seed=config.seed,
        )
        rows.append(row)
        longest[f"{target}/{family}"] = flow
    return rows, longest


def train_autoencoders(config: Config) -> list[dict[str, Any]]:
    """Every family at every length, several seeds of each; the diagonal normal once for all families."""
    jobs = [(f, n) for f in config.families for n in config.vae_lengths if n or f == config.families[0]]
    rows = []
    for family, length in track(jobs, "autoencoders"):
        runs = [
            vae.train(
                family,
                length_of(family, length),
                steps=config.vae_steps,
                batch_size=config.vae_batch_size,
                learning_rate=config.vae_learning_rate,
                n_draws=config.vae_draws,
                seed=config.seed + k,
            )
            for k in range(config.vae_seeds)
        ]
        means = {key: sum(run[key] for run in runs) / len(runs) for key in runs[0] if key not in ("family", "length")}
        rows.append({"family": family if length else "diagonal normal", "length": runs[0]["length"], **means})
    return rows


def tables(energies: Sequence[dict[str, Any]], autoencoders: Sequence[dict[str, Any]], config: Config) -> str:
    """The gaps, families and lengths by energies, and the bounds of the autoencoders, in Markdown."""
    gaps = {(row["family"], row["length"], row["target"]): row["gap"] for row in energies}
    kinds = dict.fromkeys((row["family"], row["length"]) for row in energies)
    text = ""
    if energies:
        rows = [[f, str(n), *(f"{gaps[f, n, target]:.3f}" for target in config.targets)] for f, n in kinds]
        text += markdown(["posterior", "flows", *config.targets], rows)
    if autoencoders:
        columns = ("bound", "importance", "train_bound")
        rows = [[row["family"], str(row["length"]), *(f"{row[c]:.2f}" for c in columns)] for row in autoencoders]
        text += "\n" + markdown(["posterior", "flows", "bound", f"{config.vae_draws} draws", "bound, seen"], rows)
    return text


def draw(
    energies: list[dict[str, Any]], longest: dict[str, Flow], autoencoders: list[dict[str, Any]], config: Config
) -> Path:
    """Each energy, draws of each family's longest posterior, the gap by length; last the autoencoders' bound."""
    columns = [*config.targets, *(["digits"] if autoencoders else [])]
    n_rows = len(config.families) + 2 if energies else 1
    figure, axes = new_figure(n_rows, len(columns), 2.2 * len(columns), 2.1 * n_rows)
    for column, target in enumerate(config.targets):
        density = log_density(target, grid(N_PICTURE)).exp().view(N_PICTURE, N_PICTURE)
        shown = {target: density.numpy()}
        for family in config.families:
            samples = longest[f"{target}/{family}"].sample(N_SAMPLES)
            counts = torch.histogramdd(samples, N_PICTURE // 2, range=[-4.0, 4.0, -4.0, 4.0]).hist
            shown[family] = counts.numpy()
        for row, (name, values) in enumerate(shown.items()):
            axes[row, column].imshow(values.T, origin="lower", cmap="magma")
            axes[row, column].set_title(name, fontsize=9)
            axes[row, column].set(xticks=[], yticks=[])
        mine = [row for row in energies if row["target"] == target]
        plot(axes[-1, column], mine, "gap", "KL(q || p), nats", config)
        axes[-1, column].set_yscale("log")
    if autoencoders:
        for axis in axes[:-1, -1]:
            axis.set_axis_off()
        plot(axes[-1, -1], autoencoders, "bound", "bound, nats an image", config)
        axes[-1, -1].set_title("autoencoder", fontsize=9)
    axes[-1, 0].legend(fontsize=7)
    return save_figure(figure, Path(config.out) / "posteriors.png", dpi=80)


def plot(axis: Any, rows: list[dict[str, Any]], key: str, label: str, config: Config) -> None:
    for family in config.families:
        points = [(row["length"], row[key]) for row in rows if row["family"] in (family, "diagonal normal")]
        axis.plot(*zip(*points), "o-", markersize=3, label=family)
    axis.set_xlabel("flows", fontsize=8)
    axis.set_title(label, fontsize=8)
    axis.tick_params(labelsize=7)


def main(config: Config) -> None:
    """Infer, print the tables, draw the picture."""
    choose(config.targets, NAMES)
    choose(config.families, FAMILIES)
    torch.set_num_threads(1)
    energies, longest = infer_energies(config)
    autoencoders = train_autoencoders(config) if config.vae_lengths else []
    text = tables(energies, autoencoders, config)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    (out / "rows.json").write_text(json.dumps({"energies": energies, "autoencoders": autoencoders}, indent=2) + "\n")
    print(text)
    print(draw(energies, longest, autoencoders, config))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
