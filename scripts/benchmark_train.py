"""How fast a model trains: steps and seconds of audio per second, share of the matrix-product ceiling, memory.

    python scripts/benchmark_train.py --model waveglow-256 --batch 24 --segment 16000 --json train.json
    python scripts/benchmark_train.py --model lapglow-base --spectral-share 0.5 --device cpu --steps 5
    python scripts/benchmark_train.py --activations --model lapglow --set n_channels=8

A step is what `waveflow train` does on one device: likelihood (and spectral distance through the inverse of a share of
the batch), backward, clipping, AdamW, average of weights. The audio is synthetic and lies on the device. Operations are
those of the model without recomputation, so that the shares of reversible training are useful work.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from waveflow.audio.mel import MelSpectrogram
from waveflow.inference.benchmark.machine import facts
from waveflow.models import MelFlow, build
from waveflow.training.activations import peak_activation_bytes
from waveflow.training.config import TrainConfig, n_chosen
from waveflow.training.gradients import add_gradients
from waveflow.training.objective import Part
from waveflow.training.run import Run
from waveflow.training.team import Team


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: precision, compilation, recomputation."""

    bf16: bool
    compile: bool
    reversible: bool

    def __str__(self) -> str:
        extras = [name for name in ("compile", "reversible") if getattr(self, name)]
        return " + ".join(["bf16" if self.bf16 else "float32", *extras])


def train_config(args: argparse.Namespace, setting: Setting) -> TrainConfig:
    """The config of a run that is never begun."""
    config = TrainConfig()
    config.data.batch_size, config.data.segment = args.batch, args.segment
    config.objective.spectral_share = args.spectral_share
    config.objective.spectral_weight = config.objective.spectral_weight if args.spectral_share else 0.0
    config.train.bf16, config.train.compile, config.train.reversible = dataclasses.astuple(setting)
    return config


def synthetic_part(model: MelFlow, config: TrainConfig, device: torch.device) -> Part:
    """A batch of noise with a moving level, and its mel."""
    n, length = config.data.batch_size, config.data.segment // model.n_group * model.n_group
    generator = torch.Generator().manual_seed(0)
    level = 0.1 * (1 + torch.sin(torch.linspace(0, 20, length)))
    audio = level * torch.randn(n, length, generator=generator)
    frames = -(-length // model.mel_config.hop_length) + model.frames_ahead
    mel = MelSpectrogram(model.mel_config)(audio)[..., :frames]
    chosen = n_chosen(config)
    latent = torch.randn(chosen, length, generator=generator)
    uniform = torch.rand(n, length, generator=generator)
    return Part(audio, mel, uniform, torch.arange(chosen), latent).to(device)


def new_run(args: argparse.Namespace, setting: Setting, device: torch.device) -> tuple[Run, Callable[[], None]]:
    """A run, and what does one step of it."""
    config = train_config(args, setting)
    torch.manual_seed(0)
    model = build(args.model, **dict(_parsed(text) for text in args.set)).to(device)
    part = synthetic_part(model, config, device)
    run = Run.start(config, model, device)
    team, n_samples = Team(device), part.audio.numel()

    def step() -> None:
        add_gradients(run.objective, [part], n_samples, config, team)
        run.apply_gradients()

    return run, step


def time_of(step: Callable[[], object], n: int, warmup: int, device: torch.device) -> list[float]:
    """Seconds of each of `n` calls after `warmup` others."""
    found = []
    for _ in range(warmup + n):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return found[warmup:]


def ceiling(device: torch.device, bf16: bool, size: int) -> float:
    """Operations per second of a square matrix product, the best of some."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(time_of(lambda: a @ b, 10, 3, device))


def operations(args: argparse.Namespace, device: torch.device) -> int:
    """Floating-point operations of a step: two for a multiplication and its addition."""
    _, step = new_run(args, Setting(False, False, False), device)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure(args: argparse.Namespace, setting: Setting, device: torch.device, flops: int, top: float) -> dict[str, Any]:
    """Time and memory of one setting."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    run, step = new_run(args, setting, device)
    seconds = time_of(step, args.steps, args.warmup, device)
    middle = statistics.median(seconds)
    audio = args.batch * args.segment / run.model.mel_config.sample_rate
    row = {
        "setting": str(setting),
        "step_s": middle,
        "step_s_spread": [min(seconds), max(seconds)],
        "steps_per_s": 1 / middle,
        "audio_s_per_s": audio / middle,
        "tflops": flops / middle / 1e12,
        "share_of_ceiling": flops / middle / top,
    }
    if device.type == "cuda":
        row["peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    if not setting.compile:
        row["peak_activation_mib"] = peak_activation_bytes(run.model, step) / 2**20
    return row


def activations(args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Bytes that autograd holds against the number of flows, and what recomputing costs in time."""
    rows = []
    for n_flows in args.flows:
        sized = argparse.Namespace(**{**vars(args), "set": [*args.set, f"n_flows={n_flows}"]})
        found: dict[str, Any] = {"n_flows": n_flows}
        for name, reversible in (("stored", False), ("reversible", True)):
            run, step = new_run(sized, Setting(args.bf16_only, False, reversible), device)
            found[f"{name}_s"] = statistics.median(time_of(step, args.steps, args.warmup, device))
            found[f"{name}_mib"] = peak_activation_bytes(run.model, step) / 2**20
            del run, step
            gc.collect()
        rows.append({**found, "time": found["reversible_s"] / found["stored_s"]})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    names = [name for name in rows[0] if not isinstance(rows[0][name], list)]
    lines = [["" if row.get(n) is None else _text(row[n]) for n in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *lines])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parsed(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lapglow-base")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the model that differ")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--segment", type=int, default=16384, help="samples")
    parser.add_argument("--spectral-share", type=float, default=0.0, help="share of the batch that is synthesised")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--matrix", type=int, help="size of the matrix product; 8192 on a GPU, 2048 on a CPU")
    parser.add_argument("--only", nargs="+", help="settings to measure, e.g. 'bf16 + compile'; else all")
    parser.add_argument("--activations", action="store_true", help="bytes against flows, stored and reversible")
    parser.add_argument("--flows", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--bf16-only", action="store_true", help="take the activations under bf16")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    results: dict[str, Any] = {**facts(device), "model": args.model, "batch": args.batch, "segment": args.segment}
    if args.activations:
        results["rows"] = activations(args, device)
    else:
        size = args.matrix or (8192 if device.type == "cuda" else 2048)
        tops = {bf16: ceiling(device, bf16, size) for bf16 in (False, True)}
        results["ceiling_tflops"] = {"float32": tops[False] / 1e12, "bf16": tops[True] / 1e12}
        results["operations"] = flops = operations(args, device)
        grid = [Setting(*values) for values in itertools.product((False, True), repeat=3)]
        chosen = [s for s in grid if (str(s) in args.only if args.only else not (s.compile and s.reversible))]
        if not chosen:
            raise SystemExit(f"--only {args.only} is none of {', '.join(map(str, grid))}")
        results["rows"] = []
        for setting in chosen:
            results["rows"].append(measure(args, setting, device, flops, tops[setting.bf16]))
    print(json.dumps({name: value for name, value in results.items() if name != "rows"}))
    print(table(results["rows"]))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
