"""Draw what held-out figures became over the core minutes of training, and fit how they go on.

    python scripts/research/curves.py collect runs/lapglow runs/lapglow-tiny
    python scripts/research/curves.py draw docs/research/lapglow-curves.png

`collect` takes the validations out of the logs of runs into `benchmarks/research_lapglow_curves.jsonl`, beside those of
other runs that are there. `draw` draws them, and prints for each model how figures at the ends of its schedules change
per doubling of its core minutes. A run called `NAME+` went on from the end of the run NAME; its minutes count from
there.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

CURVES = Path(__file__).parents[2] / "benchmarks" / "research_lapglow_curves.jsonl"
FIGURES = {"ljspeech/nats": "nats per sample", "ljspeech/pesq": "PESQ", "ljspeech/log_mel_l1": "log-mel L1"}


def collect(runs: list[Path]) -> list[dict[str, Any]]:
    """The validations of runs, each named after its folder."""
    rows = []
    for run in runs:
        for line in (run / "log.jsonl").read_text().splitlines():
            row = json.loads(line)
            if "ljspeech/nats" in row:
                rows.append({"run": run.name, **row})
    return rows


def per_doubling(points: list[tuple[float, float]]) -> float:
    """Slope of a least-squares line over the logarithm to base 2 of the minutes."""
    x = [math.log2(minutes) for minutes, _ in points]
    y = [value for _, value in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)


def joined(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by run, those of a continued one with the minutes that went before."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        runs.setdefault(row["run"], []).append(row)
    for name in sorted(runs, key=len):
        before = runs.get(name[:-1], []) if name.endswith("+") else []
        spent = before[-1]["minutes"] if before else 0.0
        runs[name] = [{**row, "minutes": row["minutes"] + spent} for row in runs[name]]
    return runs


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel a figure, one line a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(FIGURES), figsize=(11, 3.2), layout="constrained")
    for panel, (name, label) in zip(panels, FIGURES.items()):
        for run, rows in runs.items():
            panel.plot([row["minutes"] for row in rows], [row[name] for row in rows], "o-", markersize=3, label=run)
        panel.set(xscale="log", xlabel="core minutes")
        panel.set_title(f"{label}, held-out LJSpeech", fontsize=9)
        panel.grid(alpha=0.3, which="both")
    panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("collect", "draw"))
    parser.add_argument("paths", nargs="+", type=Path, help="runs, or the picture")
    args = parser.parse_args()
    if args.what == "collect":
        found = collect(args.paths)
        kept = [json.loads(line) for line in CURVES.read_text().splitlines()] if CURVES.exists() else []
        kept = [row for row in kept if row["run"] not in {row["run"] for row in found}]
        CURVES.write_text("".join(json.dumps(row) + "\n" for row in kept + found))
        return
    runs = joined([json.loads(line) for line in CURVES.read_text().splitlines()])
    draw(runs, args.paths[0])
    for model in sorted({name.rstrip("+") for name in runs}):
        ends = [rows[-1] for name, rows in runs.items() if name.rstrip("+") == model]
        for name, label in FIGURES.items():
            points = [(row["minutes"], row[name]) for row in ends]
            told = ", ".join(f"{value:.3f} after {minutes:.1f} min" for minutes, value in points)
            slope = f"; {per_doubling(points):+.3f} per doubling" if len(points) > 1 else ""
            print(f"{model}: {label} {told}{slope}")


if __name__ == "__main__":
    main()
