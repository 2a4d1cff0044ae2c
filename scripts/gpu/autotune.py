"""Choose the kernels' tiles on this device by trying them, and keep the choice in the package.

    python scripts/gpu/autotune.py --jobs 12

First several processes compile and run every candidate, so that the one that measures finds it compiled. After each
problem it writes waveflow/ops/tuning/<device>.json, which counts from then on, and benchmarks/autotune-<device>.json
with every time. A configuration that does not compile, does not fit or disagrees with the reference is left out.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import setting
import torch

from waveflow.decibels import signal_to_error
from waveflow.inference.noise import batch_normal
from waveflow.inference.packed import pack
from waveflow.inference.planned import PlannedInverse
from waveflow.models import MelContext
from waveflow.ops import tuning

EACH, WHOLE = False, True


def layers(*tiles: tuple[int, int, int, bool]) -> list[dict[str, Any]]:
    """Layers' settings for tiles of so many frames, warps and stages, `WHOLE` in one pass or `EACH` block by itself."""
    return [
        {"BLOCK_T": frames, "BLOCK_R": 64, "ALL_BLOCKS": whole, "TMA": tma, "num_warps": warps, "num_stages": stages}
        for (frames, warps, stages, whole), tma in itertools.product(tiles, [True, False])
    ]


def wide(kernel_rows: str, *tiles: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Settings of the kernels around a product of wide matrices, for tiles of so many rows, outputs and warps."""
    return [
        {kernel_rows: rows, "BLOCK_N": outputs, "BLOCK_K": 32, "num_warps": warps, "num_stages": stages}
        for (rows, outputs, warps), stages in itertools.product(tiles, [2, 3])
    ]


# For long, middling and short items, likely winners first. A layer of WaveGlow has two wide blocks of channels, one of
# LapGlow three narrow ones.
WAVEGLOW = (
    layers((128, 8, 3, EACH), (64, 4, 2, EACH), (128, 8, 4, EACH)),
    layers((128, 8, 3, EACH), (64, 4, 2, EACH), (64, 8, 4, EACH), (128, 8, 4, EACH)),
    layers((32, 8, 4, EACH), (64, 8, 4, EACH), (32, 4, 4, EACH), (32, 4, 3, EACH)),
)
LAPGLOW = (
    layers((128, 8, 3, WHOLE), (64, 8, 3, WHOLE), (128, 8, 4, EACH), (64, 4, 4, EACH), (64, 4, 2, WHOLE)),
    layers((16, 4, 3, WHOLE), (16, 8, 3, WHOLE), (32, 8, 3, WHOLE), (16, 4, 4, EACH), (32, 4, 4, EACH)),
    layers((16, 4, 3, WHOLE), (16, 8, 3, WHOLE), (16, 4, 4, EACH), (16, 8, 4, WHOLE)),
)
COUPLINGS = (
    wide("BLOCK_L", (64, 64, 4), (64, 128, 8), (128, 64, 8), (32, 64, 4), (128, 128, 8)),
    wide("BLOCK_L", (16, 32, 4), (16, 64, 4), (32, 32, 4), (32, 64, 4)),
    wide("BLOCK_L", (16, 32, 4), (16, 16, 4), (16, 64, 4)),
)
NARROW_COUPLINGS = [
    {"BLOCK_L": rows, "BLOCK_N": 16, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2} for rows in (128, 64, 256)
]
LAPPED = (
    wide("BLOCK_F", (64, 64, 4), (64, 32, 4), (128, 32, 8), (128, 64, 8)),
    wide("BLOCK_F", (16, 32, 4), (32, 32, 4), (16, 64, 4)),
    wide("BLOCK_F", (16, 16, 4), (16, 32, 4)),
)


@dataclass
class Job:
    """One kernel of one model at one length, and what may be tried.

    limit: Up to how many rows of an item the choice counts; None for all.
    """

    kernel: str
    model: str
    batch: int
    n_frames: int
    candidates: list[dict[str, Any]]
    facts: dict[str, int]
    limit: int | None
    times: dict[str, float] = field(default_factory=dict)


def jobs(dtype: torch.dtype, waveglow: str, lapglow: str) -> Iterator[Job]:
    """What is tuned, what matters most first."""
    sizes = [(16, 862, None), (1, 431, 640), (1, 32, 48)]
    wide, narrow = (setting.model(name, n_flows=1) for name in (waveglow, lapglow))
    bands = narrow.n_group
    tried = (
        ("wavenet_layer", waveglow, WAVEGLOW, {"channels": wide.config.n_channels, "size": dtype.itemsize}),
        ("wavenet_layer", lapglow, LAPGLOW, {"channels": narrow.config.n_channels, "size": dtype.itemsize}),
        ("coupling_inverse", lapglow, COUPLINGS, {"channels": bands}),
        ("lapped_inverse", lapglow, LAPPED, {}),
        ("coupling_inverse", waveglow, [NARROW_COUPLINGS], {}),
    )
    for kernel, model, candidates, facts in tried:
        for (batch, n_frames, limit), settings in zip(sizes, candidates):
            yield Job(kernel, model, batch, n_frames, settings, facts, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], default="bfloat16", help="stands for both")
    parser.add_argument("--minutes", type=float, default=8.0, help="stop trying after this long")
    parser.add_argument("--jobs", type=int, default=1, help="processes that compile")
    parser.add_argument("--share", type=int, nargs=2, metavar=("K", "N"), help="compile candidates K, K + N, ... alone")
    parser.add_argument("--output", type=Path, default=setting.RESULTS)
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--waveglow", default="waveglow-256")
    parser.add_argument("--lapglow", default="lapglow")
    parser.add_argument("--longest", type=int, default=10**9, help="leave out problems of more frames")
    parser.add_argument("--candidates", type=int, help="try no more than so many of each kernel")
    options = parser.parse_args()
    end = time.perf_counter() + 60 * options.minutes
    dtype = setting.DTYPES[options.dtype]
    found = jobs(dtype, options.waveglow, options.lapglow)
    todo = [job for job in found if job.batch * job.n_frames <= options.longest]
    for job in todo:
        job.candidates = job.candidates[: options.candidates]
    if options.share:
        compile_share(todo, dtype, options)
        return
    if options.jobs > 1:
        compile_all(options)
    for job in todo:
        if time.perf_counter() > end:
            print("time is up before", job.kernel, job.model, job.batch, job.n_frames)
            break
        problem = Problem(job, dtype, options.device)
        for config in job.candidates:
            took = problem.attempt(config) if time.perf_counter() < end else None
            if took is not None:
                job.times[json.dumps(config)] = took
        best = min(job.times, key=job.times.get, default=None)
        print(job.kernel, job.model, job.batch, job.n_frames, best, job.times.get(best), flush=True)
        keep(todo, options)


def keep(todo: list[Job], options: argparse.Namespace) -> None:
    results = [
        {"kernel": job.kernel, "model": job.model, "batch": job.batch, "frames": job.n_frames, "ms": job.times}
        for job in todo
        if job.times
    ]
    setting.write("autotune", options.device, {"jobs": results}, options.output)
    folder = tuning.FOLDER if options.device.type == "cuda" else options.output
    tuning.write(setting.device_name(options.device), chosen(todo), folder)


def compile_all(options: argparse.Namespace) -> None:
    """Share the candidates out among processes; one that breaks the device takes none of the others with it."""
    settings = [f"--{name}={getattr(options, name)}" for name in ("device", "dtype", "waveglow", "lapglow", "longest")]
    settings += [] if options.candidates is None else [f"--candidates={options.candidates}"]
    command = [sys.executable, __file__, *settings, f"--minutes={options.minutes / 2}", "--share"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([*command, str(k), str(options.jobs)], env=environment) for k in range(options.jobs)]
    print("compiled by", len(workers), "processes, which ended with", [worker.wait() for worker in workers], flush=True)


def compile_share(todo: list[Job], dtype: torch.dtype, options: argparse.Namespace) -> None:
    end = time.perf_counter() + 60 * options.minutes
    begin, step = options.share
    first = 0
    for job in todo:
        problem = None
        for i, config in enumerate(job.candidates, first):
            if i % step == begin and time.perf_counter() < end:
                problem = problem or Problem(job, dtype, options.device)
                problem.attempt(config, seconds=0.0)
        first += len(job.candidates)


class Problem:
    """One flow of a model, which has every kernel there is; its time varies with the kernel that is tried."""

    def __init__(self, job: Job, dtype: torch.dtype, device: torch.device) -> None:
        model = setting.model(job.model, n_flows=1).to(device)
        self.kernel, self.device, self.flow = job.kernel, device, pack(model, dtype)
        self.flow.steps = self.flow.steps[:1]
        n_samples = job.n_frames * model.mel_config.hop_length
        self.context = MelContext(setting.speech(job.batch, job.n_frames, device))
        self.latent = batch_normal([*range(job.batch)], 0, n_samples, device=device)
        self.expected = PlannedInverse(self.flow, "reference")(self.latent, self.context)

    def attempt(self, config: dict[str, Any], seconds: float = 0.1) -> float | None:
        """Milliseconds with a configuration; None where it fails."""
        with tuning.override(**{self.kernel: config}):
            try:
                # A new inverse: a recorded graph has the configuration of its recording.
                inverse = PlannedInverse(self.flow, "triton")
                if not signal_to_error(inverse(self.latent, self.context), self.expected).item() > 45:
                    return None
                run = functools.partial(inverse, self.latent, self.context)
                least = 3 if seconds else 1
                return statistics.median(setting.milliseconds(run, self.device, seconds=seconds, least=least))
            except Exception as error:
                # Too many registers, too much shared memory, a shape that the compiler refuses: try another.
                print(self.kernel, config, type(error).__name__, str(error).splitlines()[:1])
                return None


def chosen(done: list[Job]) -> dict[str, list[dict[str, Any]]]:
    """The fastest of each job, in the order of lookup: short lengths first, narrower statements first."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for job in sorted(done, key=lambda job: ("channels" not in job.facts, job.limit or 10**9)):
        if job.times:
            config = json.loads(min(job.times, key=job.times.get))
            limit = {} if job.limit is None else {"rows": job.limit}
            entries.setdefault(job.kernel, []).append({**job.facts, **limit, "config": config})
    return entries


if __name__ == "__main__":
    main()
