"""Fine-tuning on new speakers: the base model, a fine-tuned one, an adapter, and one trained from scratch.

    python recipes/finetune/run.py --data ../speech --out runs/finetune --into docs/finetuning.md

Every comparison becomes a row of `benchmarks/finetune.jsonl`; rows that are there already are not made again, and a
run that was stopped goes on. `report.py` makes tables and the picture of it, here with `--into`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch

import waveflow
from waveflow.audio import io
from waveflow.checkpoints import fingerprint, load, read_facts
from waveflow.data.cleaning import CleaningConfig
from waveflow.data.manifest import NAME, Manifest
from waveflow.data.preprocess import preprocess
from waveflow.inference.loading import find_checkpoint
from waveflow.metrics import evaluate_pair
from waveflow.training import TrainConfig, train
from waveflow.training.finetune import finetune_config
from waveflow.training.recipe import compose

HERE = Path(__file__).parent
TEST, VALIDATION = 6, 4
"""Recordings of each speaker that are measured, and that decide when to stop; by a hash of their names."""

SCRATCH = ("optimizer.lr=1e-3",)
SYSTEMS = ("base", "fine-tuned", "adapter", "scratch")
FIGURES = ("pesq", "mcd", "f0_rmse_cents", "vuv_f1", "log_mel_l1")
QUICK_FIGURES = ("pesq", "log_mel_l1")
SEEDS = 8


def corpus_of(speaker: Path, out: Path, sample_rate: int) -> Manifest:
    """The corpus of a speaker, split into what is learned from, what decides, and what is measured."""
    folder = out / "corpora" / speaker.name
    if not (folder / NAME).is_file():
        preprocess([speaker], folder, CleaningConfig(sample_rate), validation=0, test=0)
    entries = sorted(Manifest.read(folder).entries, key=lambda entry: hashlib.sha256(entry.id.encode()).digest())
    splits = ["test"] * TEST + ["validation"] * VALIDATION
    splits += ["train"] * (len(entries) - len(splits))
    return Manifest(folder, tuple(dataclasses.replace(entry, split=split) for entry, split in zip(entries, splits)))


def part_of(corpus: Manifest, minutes: float | None) -> tuple[Manifest, float]:
    """So many minutes of the training recordings, and the others; all of them unless given; and how many it is."""
    name = "all" if minutes is None else f"{minutes:g}"
    folder = corpus.folder.with_name(f"{corpus.folder.name}-{name}")
    chosen, seconds = [], 0.0
    for entry in corpus.entries:
        if entry.split == "train":
            if minutes is not None and seconds >= 60 * minutes:
                continue
            seconds += entry.duration
        chosen.append(dataclasses.replace(entry, path=f"../{corpus.folder.name}/{entry.path}"))
    folder.mkdir(exist_ok=True)
    part = Manifest(folder, tuple(sorted(chosen, key=lambda entry: entry.id)))
    part.write()
    return part, seconds / 60


def settings(system: str, base: Path, corpus: Manifest, out: Path, overrides: Sequence[str]) -> TrainConfig:
    """The run that makes a system."""
    if system == "scratch":
        config = compose(HERE, [*SCRATCH, *overrides, "data.manifest=later", "train.out=later"])
        config.model, config.model_config = read_facts(base)["model"], read_facts(base)["config"]
        config.data.manifest, config.train.out = str(corpus.folder), str(out)
        return config
    adapter = system == "adapter"
    return finetune_config(base, corpus.folder, out, recipe=HERE, overrides=overrides, adapter=adapter)


@torch.no_grad()
def measure(model: Path, corpus: Manifest, names: Sequence[str]) -> dict[str, float]:
    """Means over the test recordings: nats per sample, and figures of the resynthesis from the recording's mel.

    Among these are the bits per sample that the model needs for the resynthesis, once it is 16-bit audio.

    PESQ and log-mel distance, which are cheap and differ with the noise, are means over several seeds; with PESQ comes
    its standard error over these draws.
    """
    vocoder = waveflow.load(model, device="cpu")
    found: dict[str, list[float]] = {}
    for entry in corpus.split("test").entries:
        audio, rate = io.read(corpus.path(entry), vocoder.sample_rate)
        nats = (15 - float(vocoder.bits_per_sample(audio))) * math.log(2)
        found.setdefault("nats", []).append(nats)
        mel = vocoder.mel(audio)
        draws: dict[str, list[float]] = {}
        for seed in range(SEEDS):
            synthesis = vocoder(mel, seed=seed)[: len(audio)]
            for name, value in evaluate_pair(
                audio, synthesis, rate, metrics=names if seed == 0 else QUICK_FIGURES
            ).items():
                draws.setdefault(name, []).append(value)
            if seed == 0:
                draws["own_bits"] = [float(vocoder.bits_per_sample(synthesis))]
        for name, values in draws.items():
            found.setdefault(name, []).append(np.mean(values))
        found.setdefault("pesq_variance", []).append(np.var(draws["pesq"], ddof=1) / SEEDS)
    means = {
        name: np.mean([value for value in values if np.isfinite(value)] or [np.nan]) for name, values in found.items()
    }
    means["pesq_error"] = math.sqrt(means.pop("pesq_variance") / len(found["pesq"]))
    # A figure that no recording has, such as the pitch of what has none, is left out.
    return {name: round(float(mean), 4) for name, mean in means.items() if np.isfinite(mean)}


def make_row(system: str, speaker: Path, minutes: float | None, args: argparse.Namespace) -> dict[str, Any]:
    """Train where the system is trained, and measure."""
    base = find_checkpoint(args.base)
    facts = read_facts(base)
    corpus = corpus_of(speaker, args.out, facts["config"]["mel"]["sample_rate"])
    part, length = part_of(corpus, minutes)
    model, run = base, {}
    if system != "base":
        out = args.out / args.base_id[:8] / "-".join([part.folder.name, system, *args.set])
        wall, cpu = time.monotonic(), time.process_time()
        outcome = train(settings(system, base, part, out, args.set))
        if outcome.model is None:
            raise SystemExit(f"interrupted; the same command goes on with {out}")
        model = outcome.model
        run = {"steps": outcome.step, "wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
        run = {name: round(value, 1) for name, value in run.items()}
        if system == "adapter":
            run["adapter_bytes"] = (out / "adapter.safetensors").stat().st_size
    names = FIGURES if minutes is None else QUICK_FIGURES
    return {
        "speaker": speaker.name,
        "system": system,
        "part": "all" if minutes is None else minutes,
        "minutes": round(length, 2),
        "base": args.base_id,
        "base_steps": facts["metadata"].get("steps"),
        **({"set": args.set} if args.set and system != "base" else {}),
        **run,
        **measure(model, corpus, names),
        "test_clips": TEST,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["speaker"], row["system"], row["part"], row["base"], tuple(row.get("set", ()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder of recordings for each speaker")
    parser.add_argument("--out", type=Path, required=True, help="folder of corpora and runs")
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/finetune.jsonl"))
    parser.add_argument("--base", help="native checkpoint; the bundled model unless given")
    parser.add_argument("--speakers", nargs="+", default=["flemishguy", "nathalie", "kerstin"])
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--minutes", nargs="*", type=float, default=[0.5, 1, 2], help="of the curve over speech")
    parser.add_argument(
        "--curve-of", nargs="+", default=["flemishguy"], metavar="SPEAKER", help="speakers of the curve"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of training that differ")
    parser.add_argument("--into", type=Path, help="document whose figures `report.py` replaces in the end")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/finetune.png"), help="drawn with --into")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.base_id = fingerprint(load(find_checkpoint(args.base)))
    args.rows.parent.mkdir(parents=True, exist_ok=True)
    done = {key_of(json.loads(line)) for line in args.rows.read_text().splitlines()} if args.rows.exists() else set()
    todo: list[tuple[str, str, float | None]] = [(s, who, None) for s in args.systems for who in args.speakers]
    todo += [("fine-tuned", who, minutes) for who in args.curve_of for minutes in args.minutes]
    for system, speaker, minutes in todo:
        chosen = tuple(args.set) if system != "base" else ()
        if (speaker, system, "all" if minutes is None else minutes, args.base_id, chosen) in done:
            continue
        row = make_row(system, args.data / speaker, minutes, args)
        with open(args.rows, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    if args.into:
        report.publish(report.read_rows(args.rows, args.base_id), args.into, args.picture)


if __name__ == "__main__":
    main()
