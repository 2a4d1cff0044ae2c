"""How LapGlow's likelihood grows with its size and with training: runs of several sizes, and a law fitted to them.

    OMP_NUM_THREADS=1 python scripts/research/scaling.py train 32x1200 64x1200 --data ../speech
    python scripts/research/scaling.py table
    python scripts/research/scaling.py fit
    python scripts/research/scaling.py draw docs/research/lapglow-scaling.png

A run `WIDTHxSTEPS` trains a LapGlow of six flows, its encoder as wide as its couplings, by likelihood alone and
otherwise as the variant `shipped`: its rate falls to zero at the last step, so that each run is a point. A third
number, as in `64x1200x2`, is the minutes of each speaker that it may hear, all there are unless given. Rows go to
`benchmarks/research_lapglow_scaling.jsonl`. `fit` fits, in parameters N and steps S, to the runs that hear everything
and last for 1200 steps at least (shorter ones have hardly left their warm-up),

    nats = E - a (N / 1e6)^-alpha - b (S / 1e3)^-beta

(the parametric loss of Hoffmann et al., arXiv:2203.15556, for nats that grow) and tells how far it moves when a run is
left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

ROWS = Path(__file__).parents[2] / "benchmarks" / "research_lapglow_scaling.jsonl"
GOAL = 5.0
LAW = ("E", "a", "alpha", "b", "beta")
SETTLED = 1200
"""Steps below which a run follows no law: a hundred of them are its warm-up."""


def train(name: str, data: Path, runs: Path) -> dict[str, Any]:
    """Train one point and return its row."""
    from research.clips import nats_of
    from research.settings import Settings
    from research.training import Run
    from research.variants import SHIPPED
    from waveflow.models.cost import cost

    class ByLikelihood(Run):
        def validate(self) -> dict[str, float]:
            return nats_of(self.average.module.eval(), self.mel, self.held_out)

    width, steps, *minutes = name.split("x")
    settings = Settings(
        **{
            **SHIPPED,
            "config": {"n_channels": int(width), "n_encoded": int(width)},
            "steps": int(steps),
            "spectral": 0.0,
            "data_minutes": float(minutes[0]) if minutes else None,
        }
    )
    run = ByLikelihood(settings, data, runs / name)
    run.train()
    size, found = cost(run.model), run.validate()
    seen = nats_of(run.average.module, run.mel, run.train_clips["ljspeech"])
    return {
        "run": name,
        "parameters": size["parameters"],
        "gmac_per_second": size["gmac_per_second"],
        "steps": settings.steps,
        "data_minutes": settings.data_minutes,
        "minutes": round(run.seconds / 60, 2),
        "nats": found["ljspeech/nats"],
        "nats_kathleen": found.get("kathleen/nats"),
        "nats_trained": seen["ljspeech/nats"],
        "device": run.device.type,
    }


def law(theta: Sequence[float], parameters: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Nats by the law; `a`, `b` and the exponents are given by their logarithms."""
    top, a, alpha, b, beta = theta
    size, length = np.exp(a - np.exp(alpha) * np.log(parameters / 1e6)), np.exp(b - np.exp(beta) * np.log(steps / 1e3))
    return top - size - length


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The law's constants by least squares, and the root of the mean squared residual, in nats.

    Raises:
        ValueError: Fewer runs than the law has constants.
    """
    from scipy.optimize import least_squares

    if len(rows) <= len(LAW):
        raise ValueError(f"{len(rows)} runs were given for the {len(LAW)} constants of the law; train more")
    parameters, steps, nats = (np.array([row[key] for row in rows], float) for key in ("parameters", "steps", "nats"))
    tried = [
        least_squares(
            lambda theta: law(theta, parameters, steps) - nats, (nats.max() + top, -1, alpha, -1, beta), max_nfev=4000
        )
        for top in (0.05, 0.3)
        for alpha in (-1.5, 0.0)
        for beta in (-1.0, 0.0)
    ]
    best = min(tried, key=lambda found: found.cost)
    top, a, alpha, b, beta = best.x
    constants = (top, np.exp(a), np.exp(alpha), np.exp(b), np.exp(beta))
    return {**dict(zip(LAW, map(float, constants))), "rms": float(np.sqrt(np.mean(best.fun**2)))}


def parameters_for(found: dict[str, float], nats: float, steps: float) -> float:
    """Parameters at which the law gives so many nats after so many steps; infinite where it never does."""
    missing = found["E"] - found["b"] * (steps / 1e3) ** -found["beta"] - nats
    return 1e6 * (found["a"] / missing) ** (1 / found["alpha"]) if missing > 0 else np.inf


def without_each(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The fits to all runs but one."""
    return [fit(rows[:i] + rows[i + 1 :]) for i in range(len(rows))]


def told(rows: list[dict[str, Any]], lengths: Sequence[float]) -> list[str]:
    """The fit in words: each figure, and from where to where it moves when a run is left out."""
    whole, others = fit(rows), without_each(rows)
    lines = [f"{len(rows)} runs, residual {1e3 * whole['rms']:.1f} thousandths of a nat"]
    for name in LAW:
        values = [found[name] for found in others]
        lines.append(f"{name} = {whole[name]:.3f} ({min(values):.3f} to {max(values):.3f})")
    for steps in lengths:
        needed = [parameters_for(found, GOAL, steps) / 1e6 for found in (whole, *others)]
        span = f"{min(needed[1:]):.3g} to {max(needed[1:]):.3g}"
        lines.append(f"{GOAL} nats after {steps:g} steps: {needed[0]:.3g} M parameters ({span})")
    return lines


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Nats per sample of the runs that hear everything, sizes across and steps down, with core minutes, as Markdown."""
    sizes = sorted({row["parameters"] for row in rows})
    lines = ["| steps | " + " | ".join(f"{size / 1e6:.2f} M" for size in sizes) + " |"]
    lines.append("| ---: |" + " ---: |" * len(sizes))
    for steps in sorted({row["steps"] for row in rows}):
        found = {
            row["parameters"]: f"{row['nats']:.3f} ({row['minutes']:.1f})" for row in rows if row["steps"] == steps
        }
        lines.append(f"| {steps} | " + " | ".join(found.get(size, "") for size in sizes) + " |")
    return lines


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Nats over parameters, a line for each number of steps, with the law through them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    found = fit(rows)
    theta = (found["E"], *(np.log(found[name]) for name in LAW[1:]))
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
    sizes = np.geomspace(0.4e6, 1e8, 100)
    for steps in sorted({row["steps"] for row in rows}):
        points = [row for row in rows if row["steps"] == steps]
        (line,) = axes.plot(sizes / 1e6, law(theta, sizes, np.array(float(steps))), lw=1)
        x, y = ([row[key] for row in points] for key in ("parameters", "nats"))
        axes.plot(np.array(x) / 1e6, y, "o", color=line.get_color(), label=f"{steps} steps")
    axes.axhline(GOAL, color="0.6", lw=0.8, ls="--")
    axes.set(xscale="log", xlabel="parameters, millions", ylabel="nats per sample, held out")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    Image.open(path).convert("RGB").quantize(48, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table", "fit", "draw"))
    parser.add_argument("names", nargs="*", help="runs, as 64x1200; for draw, the picture")
    parser.add_argument("--data", type=Path, help="folder with ljspeech/ and kathleen/")
    parser.add_argument("--runs", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    args = parser.parse_args()
    if args.what == "train":
        if args.data is None or not args.names:
            parser.error("train needs --data and names of runs, as 64x1200")
        for name in args.names:
            row = train(name, args.data, args.runs)
            print(json.dumps(row), flush=True)
            with open(args.rows, "a") as file:
                file.write(json.dumps(row) + "\n")
        return
    rows = [json.loads(line) for line in args.rows.read_text().splitlines()]
    rows = [row for row in rows if row["data_minutes"] is None]
    if args.what == "table":
        print("\n".join(table(rows)))
        return
    rows = [row for row in rows if row["steps"] >= SETTLED]
    if args.what == "fit":
        print("\n".join(told(rows, (1200, 12000, 120000))))
    elif len(args.names) == 1:
        draw(rows, Path(args.names[0]))
    else:
        parser.error("draw needs one path, of the picture")


if __name__ == "__main__":
    main()
