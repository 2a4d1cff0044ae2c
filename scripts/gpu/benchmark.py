"""Measure synthesis: models x backends x precisions x (batch, seconds), parity first, beside the machine's ceilings.

    python scripts/gpu/benchmark.py
    python scripts/gpu/benchmark.py --model waveglow-256 --backend max-autotune-parts max-autotune --size 8x10

Every row: milliseconds from noise and mel to audio (median and percentiles), x real time, ratio to the reference at the
same precision and size and to the faster of torch.compile's two, share of the machine's own matrix product by the
operations left after folding, peak memory, and decibels from the float64 reference. `max-autotune` compiles the whole
inverse, `max-autotune-parts` its conditioners, which share one compilation where they are of one shape. For single
utterances also the latency of a whole call, audio on the CPU, and of the first samples of a stream. Peers run in the
same process, at random weights.

Writes benchmarks/benchmark-<device>.json after every row; rows of an earlier run that this one does not measure again
are kept, and a row that fails says why in place of its figures.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import count
import setting
import torch
from peers import PEERS
from torch import Tensor

from waveflow.bijections import AffineCoupling
from waveflow.decibels import signal_to_error
from waveflow.inference import Vocoder, fuse
from waveflow.inference.backends import inverse_by
from waveflow.inference.benchmark.machine import now
from waveflow.inference.noise import batch_normal
from waveflow.models import MelContext, MelFlow
from waveflow.ops import unavailable

COMPILED = ("max-autotune", "max-autotune-parts")
BACKENDS = ("reference", "triton", "cuda", *COMPILED, "onednn")
SIZES = ("1x5", "8x10", "16x10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", nargs="+", default=["waveglow-256", "lapglow", *PEERS])
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["reference", "triton"])
    parser.add_argument("--dtype", nargs="+", choices=setting.DTYPES, default=["bfloat16", "float16"])
    parser.add_argument("--size", nargs="+", default=[*SIZES], help="batch x seconds")
    parser.add_argument("--minutes", type=float, default=9.0, help="measure nothing new after this long")
    parser.add_argument("--output", type=Path, default=setting.RESULTS)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a row is measured")
    parser.add_argument("--small", action="store_true", help="small ceilings: a dry run")
    options = parser.parse_args()
    end = time.perf_counter() + 60 * options.minutes
    machine = setting.ceilings(options.device, small=options.small)
    print(machine, flush=True)
    rows, path = earlier(options), None
    for name, dtype, backend in itertools.product(options.model, options.dtype, options.backend):
        if name in PEERS and backend not in ("reference", "max-autotune"):
            continue
        subject = None
        for size in options.size:
            key = (name, backend, dtype, size)
            if time.perf_counter() > end:
                print("time is up before", *key)
                continue
            row: dict[str, Any] = dict(zip(("model", "backend", "dtype", "size"), key))
            row["date"] = now()
            try:
                # No row may take the others with it, whatever a compiler or driver raises here.
                kind = Peer if name in PEERS else Flow
                subject = subject or kind(name, backend, dtype, options.device, options.seconds)
                batch, seconds = map(float, size.split("x"))
                row |= subject.measure(int(batch), seconds, machine)
            except Exception as error:
                print(*key, type(error).__name__, error)
                row["error"] = f"{type(error).__name__}: {error}"[:300]
                if "median_ms" in rows.get(key, {}):
                    continue
            rows[key] = row
            print(*row.values(), flush=True)
            compare(rows)
            path = setting.write(
                "benchmark", options.device, {"ceilings": machine, "rows": [*rows.values()]}, options.output
            )
        del subject
        gc.collect()
        if options.device.type == "cuda":
            torch.cuda.empty_cache()
    print(path or "no row was measured; give more --minutes")


def compare(rows: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """Give each row how many times as fast it is as the reference and as PyTorch's compiler at the same size."""
    for (name, _, dtype, size), row in rows.items():
        for others, column in ((("reference",), "times_the_reference"), (COMPILED, "times_max_autotune")):
            found = [rows.get((name, other, dtype, size), {}).get("median_ms") for other in others]
            base = min(filter(None, found), default=None)
            row[column] = base / row["median_ms"] if base and "median_ms" in row else None


def earlier(options: argparse.Namespace) -> dict[tuple[str, ...], dict[str, Any]]:
    path = options.output / f"benchmark-{setting.slug(setting.device_name(options.device))}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {(row["model"], row["backend"], row["dtype"], row["size"]): row for row in rows}


class Flow:
    """One of our models by one backend."""

    def __init__(self, name: str, backend: str, dtype: str, device: torch.device, clock: float) -> None:
        self.device, self.dtype, self.clock = device, dtype, clock
        self.model = setting.model(name).to(device)
        self.backend = backend
        self.gmac = count.operations(self.model)
        self.agreement: dict[tuple[int, int], float] = {}
        if backend in COMPILED:
            self.inverse = tuned(self.model, setting.DTYPES[dtype], whole=backend == "max-autotune")
        else:
            self.inverse, _ = inverse_by(self.model, backend, device, setting.DTYPES[dtype])

    @torch.no_grad()
    def measure(self, batch: int, seconds: float, machine: dict[str, float]) -> dict[str, Any]:
        mel, n_samples = self.problem(batch, seconds)
        # Everyone's noise comes from the kernel: in plain PyTorch, integer by integer, it would burden the reference.
        drawn_by = "triton" if unavailable("triton", self.device) is None else "reference"

        def run() -> Tensor:
            noise = batch_normal([*range(batch)], 0, n_samples, device=self.device, backend=drawn_by)
            return self.inverse(self.model.config.sigma * noise, MelContext(mel))

        length = batch * n_samples / self.model.mel_config.sample_rate
        row = timed(run, self.device, length, self.gmac, self.dtype, machine, self.clock)
        # PyTorch's compiler would compile again for another length.
        size = (batch, n_samples) if self.backend in COMPILED else (1, 32 * self.model.mel_config.hop_length)
        if size not in self.agreement:
            self.agreement[size] = round(self.parity(*size), 1)
        row["decibels"] = self.agreement[size]
        if batch == 1:
            row |= self.latency(mel[0])
        return row

    def problem(self, batch: int, seconds: float) -> tuple[Tensor, int]:
        config = self.model.mel_config
        n_frames = round(seconds * config.sample_rate / config.hop_length)
        return setting.speech(batch, n_frames, self.device), n_frames * config.hop_length

    def parity(self, batch: int, n_samples: int) -> float:
        """Decibels from the reference, in float64 for the first of the items."""
        mel = setting.speech(batch, n_samples // self.model.mel_config.hop_length, self.device)
        latent = self.model.config.sigma * batch_normal([*range(batch)], 0, n_samples, device=self.device)
        found = self.inverse(latent, MelContext(mel))[:1]
        exact = setting.copy_in_double(self.model).inverse(latent[:1].double(), mel[:1].double())
        return signal_to_error(found, exact).item()

    def latency(self, mel: Tensor) -> dict[str, float]:
        """Milliseconds of a call to its audio on the CPU, and of a stream's push that gives its first samples."""
        if self.backend in COMPILED:
            return {}
        vocoder = Vocoder(self.model, device=self.device, dtype=setting.DTYPES[self.dtype], backend=self.backend)
        call = setting.spread(waited(lambda: vocoder(mel, seed=1).cpu(), self.clock))
        block = 8

        def first_samples() -> Tensor:
            return next(vocoder.stream([mel[:, : 8 + block]], seed=1, look_ahead=8, block=block)).cpu()

        first = setting.spread(waited(first_samples, self.clock))
        named = {"call": call, "first_samples": first}
        return {f"{name}_{k}": v for name, times in named.items() for k, v in times.items()}


class Peer:
    """Another vocoder, from mel to audio."""

    def __init__(self, name: str, backend: str, dtype: str, device: torch.device, clock: float) -> None:
        self.device, self.dtype, self.clock = device, dtype, clock
        self.network = PEERS[name]().to(device, setting.DTYPES[dtype])
        self.run = torch.compile(self.network, mode="max-autotune") if backend == "max-autotune" else self.network

    @torch.no_grad()
    def measure(self, batch: int, seconds: float, machine: dict[str, float]) -> dict[str, Any]:
        n_frames = round(seconds * 22050 / 256)
        mel = setting.speech(batch, n_frames, self.device).to(setting.DTYPES[self.dtype])
        row = timed(
            lambda: self.run(mel), self.device, batch * n_frames * 256 / 22050, None, self.dtype, machine, self.clock
        )
        if batch == 1:
            call = setting.spread(waited(lambda: self.run(mel).cpu(), self.clock))
            row |= {f"call_{k}": v for k, v in call.items()}
        return row


def tuned(model: MelFlow, dtype: torch.dtype, *, whole: bool) -> Callable[[Tensor, MelContext], Tensor]:
    """PyTorch's own compiler at its most thorough, over the fused model or over each of its conditioners.

    The whole is one graph of more than a thousand operations, over which the compiler may brood for many minutes.
    Conditioners, which do nearly all of the work, go without CUDA graphs: one compilation serves several sets of
    weights.
    """
    fused = fuse(model).to(dtype)
    inverse = fused.inverse
    if whole:
        inverse = torch.compile(inverse, mode="max-autotune", dynamic=False, fullgraph=True)
    else:
        for coupling in filter(lambda module: isinstance(module, AffineCoupling), fused.modules()):
            coupling.conditioner.compile(mode="max-autotune-no-cudagraphs", dynamic=False, fullgraph=True)
    return lambda latent, context: inverse(latent.to(dtype), context.mel.to(dtype)).float()


def timed(
    run: Callable[[], Tensor],
    device: torch.device,
    seconds: float,
    gmac: float | None,
    dtype: str,
    machine: dict[str, float],
    clock: float,
) -> dict[str, Any]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run()
    times = setting.spread(setting.milliseconds(run, device, seconds=clock))
    row: dict[str, Any] = {**times, "x_real_time": 1e3 * seconds / times["median_ms"]}
    if gmac is not None:
        row["tflops"] = 2 * gmac * seconds / times["median_ms"]
        row["share_of_matmul"] = row["tflops"] / machine[f"matmul_{dtype}_tflops"]
    if device.type == "cuda":
        row["peak_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return row


def waited(run: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds by the clock on the wall, of what ends with its result on the CPU."""
    return setting.milliseconds(run, torch.device("cpu"), seconds=seconds)


if __name__ == "__main__":
    main()
