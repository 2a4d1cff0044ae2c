"""Measure synthesis on this machine and keep the figures, or show kept ones as a table.

    python scripts/benchmark_inverse.py --preset cpu --json benchmarks/cpu_inverse.json
    python scripts/benchmark_inverse.py --table benchmarks/cpu_inverse.json
    python scripts/benchmark_inverse.py --model lapglow --backend reference onednn --dtype float32 --size 1x5 8x10

Models x backends x precisions x sizes on mels of the LJSpeech clips under tests/data. Parity with the model in float64
comes first; then candidates take turns, so that ratios hold on a machine that is not quiet; the machine's own matrix
product and copy are measured in every round. Nothing else should run: two cores must be free.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch

from waveflow.audio import io
from waveflow.inference import bundled_models
from waveflow.inference.backends import BACKENDS, FASTEST
from waveflow.inference.benchmark import PEERS, Candidate, Plan, markdown, run

CLIPS = Path(__file__).resolve().parents[1] / "tests" / "data" / "ljspeech" / "wavs"
BOTH = ("float32", "bfloat16")
EVERY = [*itertools.product(("reference", "onednn"), BOTH)]
PLAIN = [*itertools.product(("reference",), BOTH)]
PEER = [("pytorch", dtype) for dtype in BOTH]
COMPILED = [(backend, "float32") for backend in ("reference", "compile", "onednn")]

PRESETS = {
    "cpu": [
        Plan(
            [
                *(Candidate(name, EVERY) for name in bundled_models()),
                Candidate("squeezewave-128l", PLAIN),
                *(Candidate(name, PEER) for name in PEERS),
            ],
            rounds=6,
            latency=1.5,
            minutes=2.0,
        ),
        Plan(
            [Candidate("waveglow-256", EVERY)],
            rounds=3,
            latency=1.0,
            minutes=3.0,
        ),
        Plan([Candidate("waveflow-64", [("reference", "float32")])], rounds=1, latency=0.5),
    ],
    "cpu-compile": [
        Plan(
            [Candidate(name, COMPILED) for name in ("lapglow", "waveglow-64")], sizes=[(1, 2.0)], rounds=3, latency=0.5
        ),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="show this file's figures in Markdown and measure nothing")
    parser.add_argument("--preset", choices=PRESETS, help="a fixed plan instead of the next four options")
    parser.add_argument("--model", nargs="+", default=["lapglow"], help="models, or peers: " + ", ".join(PEERS))
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, help="reference and the fastest unless given")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16", "float16"), default=[*BOTH])
    parser.add_argument("--size", nargs="+", type=size, default=[(1, 5.0)], help="batch x seconds, as 8x10")
    parser.add_argument("--rounds", type=int, help="turns of each candidate")
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's own choice unless given")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    options = parser.parse_args()
    results = json.loads(options.table.read_text()) if options.table else measured(options)
    print(markdown(results))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of all plans; each ceiling is that of the last that needed it."""
    if options.threads:
        torch.set_num_threads(options.threads)
    plans = PRESETS[options.preset] if options.preset else [Plan([candidate(n, options) for n in options.model])]
    recording = torch.cat([io.read(clip)[0] for clip in sorted(CLIPS.glob("*.flac"))])
    results: dict[str, Any] = {}
    for plan in plans:
        if not options.preset:
            plan.sizes = options.size
        plan.rounds = options.rounds or plan.rounds
        found = run(plan, recording, 22050, options.device, report=lambda doing: print(doing, file=sys.stderr))
        found["rows"] = results.get("rows", []) + found["rows"]
        found["ceilings"] = results.get("ceilings", {}) | found["ceilings"]
        found["left_out"] = results.get("left_out", {}) | found["left_out"]
        results = results | found
        if options.json:
            # After each plan, so that one which is interrupted takes nothing with it.
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def candidate(name: str, options: argparse.Namespace) -> Candidate:
    fastest = ["reference", *FASTEST.get(options.device.type, ())[:1]]
    backends = ["pytorch"] if name in PEERS else options.backend or fastest
    return Candidate(name, [*itertools.product(backends, options.dtype)])


def size(text: str) -> tuple[int, float]:
    batch, _, seconds = text.partition("x")
    return int(batch), float(seconds)


if __name__ == "__main__":
    main()
