"""Hold every backend to the float64 reference, on real mels, and write how far it is away.

    python scripts/gpu/parity.py --jobs 8
    python scripts/gpu/parity.py --device cpu --backend reference --model lapglow --seconds 0.5

For each model, precision and backend: decibels of signal to error against the model itself in float64; whether a batch
of mixed lengths gives each item what it gives alone; whether the same seed gives the same noise as on the CPU. On a CPU
the reference rounds its operands as the kernels do, so that their error is known before a GPU is at hand.

Writes benchmarks/parity-<device>.json after every row and fails if a bound is missed. Where the backend `cuda` ran on a
GPU, it also writes waveflow/ops/parity/<device>.json, the precisions in which that kept every bound: `auto` takes
`cuda` only where this file allows it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import setting
import torch

from waveflow.decibels import signal_to_error
from waveflow.inference import bundled_models
from waveflow.inference.noise import batch_normal
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext, MelFlow
from waveflow.ops import BACKENDS, recorded, unavailable

BOUNDS = {"float32": 60.0, "float16": 40.0, "bfloat16": 40.0}
# Now and then a trained flow carries the rounding of a frame far, in any arithmetic.
TRAINED_BOUNDS = {"float32": 60.0, "float16": 40.0, "bfloat16": 30.0}
# An item of a batch is computed by the same kernels in the same order, but perhaps by tiles of another size.
ALONE = {"float32": 100.0, "float16": 55.0, "bfloat16": 45.0}
NOISE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=[*BACKENDS])
    parser.add_argument("--model", nargs="+", default=["waveglow-256", "waveglow-64", "lapglow-base", "lapglow"])
    parser.add_argument("--dtype", nargs="+", choices=BOUNDS, default=[*BOUNDS])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that compile and compare side by side")
    parser.add_argument("--output", type=Path, default=setting.RESULTS)
    options = parser.parse_args()
    backends = []
    for backend in options.backend:
        reason = unavailable(backend, options.device)
        print(f"{backend}: {reason or 'runs'}", flush=True)
        if reason is None:
            backends.append(backend)
    results: dict[str, Any] = {"seconds": options.seconds, "noise": {}, "models": []}
    tasks = [
        (backend, name, dtype)
        for backend, name, dtype in itertools.product(backends, options.model, options.dtype)
        # The CUDA kernels have half-precision operands alone.
        if backend != "cuda" or dtype != "float32"
    ]
    if options.jobs > 1:
        with ThreadPoolExecutor(options.jobs) as pool:
            for found in pool.map(functools.partial(elsewhere, options), tasks):
                results["noise"] |= found["noise"]
                results["models"] += found["models"]
                setting.write("parity", options.device, results, options.output)
    else:
        for backend in backends:
            results["noise"][backend] = attempt(noise_error, backend, options.device)
        for backend, name, dtype in tasks:
            compared = attempt(Expected.of(name, options.seconds, options.device).compare, backend, dtype)
            row = compared if isinstance(compared, dict) else {"error": compared}
            results["models"].append({"model": name, "backend": backend, "dtype": dtype, **row})
            print(*results["models"][-1].values(), flush=True)
            setting.write("parity", options.device, results, options.output)
    path = setting.write("parity", options.device, results, options.output)
    if "cuda" in backends and options.device.type == "cuda" and options.output == setting.RESULTS:
        print(recorded.record(setting.device_name(options.device), kept(results)))
    missed = misses(results)
    print(path, "missed:" if missed else "all bounds kept", *missed, sep="\n")
    sys.exit(1 if missed else 0)


def bound_of(row: dict[str, Any]) -> float:
    return (TRAINED_BOUNDS if row["model"] in bundled_models() else BOUNDS)[row["dtype"]]


def misses(results: dict[str, Any]) -> list[Any]:
    """What does not keep its bound, or could not be compared."""
    rows = [
        row
        for row in results["models"]
        if not (row.get("decibels", 0) >= bound_of(row) and row.get("alone", 0) >= ALONE[row["dtype"]])
    ]
    noise = results["noise"].items()
    return rows + [pair for pair in noise if not (isinstance(pair[1], float) and pair[1] < NOISE)]


def kept(results: dict[str, Any]) -> list[str]:
    """The precisions in which the CUDA kernels keep every bound, noise included."""
    of_cuda = {
        "noise": {name: error for name, error in results["noise"].items() if name == "cuda"},
        "models": [row for row in results["models"] if row["backend"] == "cuda"],
    }
    missed = misses(of_cuda)
    lost = {row["dtype"] for row in missed if isinstance(row, dict)}
    tried = {row["dtype"] for row in of_cuda["models"]}
    return [] if len(missed) > len([row for row in missed if isinstance(row, dict)]) else sorted(tried - lost)


def elsewhere(options: argparse.Namespace, task: tuple[str, str, str]) -> dict[str, Any]:
    """One comparison in a process of its own: a kernel that breaks the device breaks no other comparison."""
    backend, name, dtype = task
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--device", str(options.device), "--output", folder]
        command += ["--backend", backend, "--model", name, "--dtype", dtype, "--seconds", str(options.seconds)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        written = list(Path(folder).glob("parity-*.json"))
        if written:
            found = json.loads(written[0].read_text())
        else:
            row = {"model": name, "backend": backend, "dtype": dtype, "error": done.stderr[-400:]}
            found = {"noise": {}, "models": [row]}
    print(*(value for row in found["models"] for value in row.values()), flush=True)
    return found


def attempt(compute: Any, *arguments: Any) -> Any:
    """What is computed, or in words why it is not."""
    try:
        return compute(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:400]


class Expected:
    """What a model makes of real mels in float64."""

    def __init__(self, model: MelFlow, seconds: float) -> None:
        self.model, config = model, model.mel_config
        device = next(model.parameters()).device
        n_frames = max(4, round(seconds * config.sample_rate / config.hop_length))
        self.mel = setting.speech(2, n_frames, device)
        noise = batch_normal([1, 2], 0, n_frames * config.hop_length, device=device)
        self.latent = model.config.sigma * noise
        self.lengths = torch.tensor([n_frames, n_frames // 3], device=device) * config.hop_length
        exact = setting.copy_in_double(model)
        with torch.no_grad():
            self.audio = exact.inverse(self.latent.double(), self.mel.double())

    @classmethod
    @functools.lru_cache(maxsize=1)
    def of(cls, name: str, seconds: float, device: torch.device) -> Expected:
        return cls(setting.model(name).to(device), seconds)

    def compare(self, backend: str, dtype: str) -> dict[str, Any]:
        inverse = PlannedInverse(pack(self.model, setting.DTYPES[dtype]), backend)
        found = inverse(self.latent, self.mel)
        both = inverse(self.latent, MelContext(self.mel, self.lengths))
        short = int(self.lengths[1])
        frames = short // self.model.mel_config.hop_length
        alone = inverse(self.latent[1:, :short], self.mel[1:, :, :frames])
        return {
            "decibels": round(signal_to_error(found, self.audio).item(), 1),
            "alone": round(min(signal_to_error(both[1:, :short], alone).item(), 200.0), 1),
            "largest": round((found - self.audio).abs().max().item(), 6),
        }


def noise_error(backend: str, device: torch.device) -> float:
    """Largest difference of the keyed noise from the CPU's."""
    seeds, start, n = [0, 2**63 + 5, 77], 2**33 + 1, 100_003
    found = batch_normal(seeds, start, n, device=device, backend=backend).cpu()
    return (found - batch_normal(seeds, start, n)).abs().max().item()


if __name__ == "__main__":
    main()
