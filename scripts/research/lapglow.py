"""The research bench: train named variants of LapGlow alike, measure them alike, one row each.

    python scripts/research/lapglow.py train baseline muon --data ../speech
    python scripts/research/lapglow.py evaluate baseline muon --data ../speech
    python scripts/research/lapglow.py table

Rows go to `benchmarks/research_lapglow.jsonl`, runs to `--runs`. Seconds are of the process, so that a busy machine
lengthens them little.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from research.clips import held_out_clips
from research.settings import Settings
from research.training import Run
from research.variants import VARIANTS

ROWS = Path(__file__).parents[2] / "benchmarks" / "research_lapglow.jsonl"
COLUMNS = {
    "variant": "variant",
    "changes": "what differs from the baseline",
    "parameters": "parameters, M",
    "gmac_per_second": "GMAC/s",
    "steps": "steps",
    "minutes": "core minutes",
    "nats": "nats/sample",
    "log_mel_l1": "log-mel L1",
    "mr_stft": "MR-STFT",
    "pesq": "PESQ",
    "stoi": "STOI",
    "periodicity_rmse": "periodicity RMSE",
    "vuv_f1": "V/UV F1",
    "f0_rmse_cents": "F0 RMSE, cents",
    "x_real_time": "x real time",
}


def settings_of(name: str) -> Settings:
    """The settings of a named variant."""
    if name not in VARIANTS:
        raise SystemExit(f"no variant is called {name!r}; there are {', '.join(VARIANTS)}")
    return Settings(**VARIANTS[name])


def changes(name: str) -> dict[str, Any]:
    """What a variant does otherwise than its baseline, the one with whose name its own begins."""
    first = name.split("-")[0]
    baseline = dataclasses.asdict(settings_of(first if first in ("shipped", "onward", "tiny") else "baseline"))
    return {key: value for key, value in dataclasses.asdict(settings_of(name)).items() if value != baseline[key]}


def evaluate(name: str, runs: Path, data: Path, corpus: str = "ljspeech") -> dict[str, Any]:
    """The row of a trained variant, on the held-out clips of one corpus."""
    from write_model_card import measure, speed

    import waveflow
    from waveflow.models.cost import cost

    settings = settings_of(name)
    vocoder = waveflow.load(runs / name / "model", device="cpu")
    clips = held_out_clips(data, corpus)
    found = measure(vocoder, clips, griffin_lim_too=False, rounds=(0, 1))
    logged = [json.loads(line) for line in (runs / name / "log.jsonl").read_text().splitlines()]
    size = cost(vocoder.model)
    return {
        "variant": name,
        "changes": changes(name),
        "parameters": round(size["parameters"] / 1e6, 2),
        "gmac_per_second": size["gmac_per_second"],
        "steps": settings.steps,
        "minutes": logged[-1]["minutes"],
        **{key: round(value, 4) for key, value in found["model"].items() if key in COLUMNS},
        "pesq_projected": round(found["model, project 1"]["pesq"], 4),
        "log_mel_l1_projected": round(found["model, project 1"]["log_mel_l1"], 4),
        "x_real_time": round(speed(vocoder)),
        "threads": torch.get_num_threads(),
        "clips": f"{corpus}, {len(clips)} held out",
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    columns = {**COLUMNS, "pesq_projected": "PESQ, projected once", "log_mel_l1_projected": "log-mel L1, projected"}
    lines = ["| " + " | ".join(columns.values()) + " |", "| --- | --- |" + " ---: |" * (len(columns) - 2)]
    for row in rows:
        told = ", ".join(f"{key} {value}" for key, value in row["changes"].items()) or "none"
        cells = ({**row, "changes": told}.get(key, "") for key in columns)
        lines.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "evaluate", "table"))
    parser.add_argument("variants", nargs="*", help=", ".join(VARIANTS))
    parser.add_argument("--data", type=Path, help="folder with ljspeech/ and kathleen/")
    parser.add_argument("--runs", type=Path, default=Path("runs/research"))
    parser.add_argument("--rows", type=Path, default=ROWS)
    args = parser.parse_args()
    if args.what == "table":
        print("\n".join(table([json.loads(line) for line in args.rows.read_text().splitlines()])))
        return
    if args.data is None or not args.variants:
        parser.error(f"{args.what} needs --data and the names of variants")
    for name in args.variants:
        if args.what == "train":
            Run(settings_of(name), args.data, args.runs / name).train()
            continue
        row = evaluate(name, args.runs, args.data)
        print(json.dumps(row), flush=True)
        with open(args.rows, "a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
