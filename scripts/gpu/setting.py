"""What the measurements share: models, mels, clocks, and the form of results."""

from __future__ import annotations

import copy
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import native
from waveflow.inference import bundled_models
from waveflow.inference.benchmark.machine import facts, percentile
from waveflow.inference.benchmark.subjects import with_random_weights
from waveflow.inference.loading import find_checkpoint
from waveflow.models import MelFlow
from waveflow.ops.tuning import slug

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# For a dry run on a CPU: every kernel there is, in seconds through Triton's interpreter.
TOY_MEL = MelConfig(n_fft=128, win_length=128, hop_length=32, n_mels=80)
TOYS = {
    "waveglow-toy": {"n_flows": 2, "n_channels": 8, "n_layers": 2},
    "lapglow-toy": {"n_flows": 1, "n_channels": 16, "dilations": [1, 2]},
}


def device_name(device: torch.device) -> str:
    """What results are named after: a GPU, or the kind of processor, for on a CPU they do not depend on which."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def write(kind: str, device: torch.device, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Store results as `<folder>/<kind>-<device>.json`."""
    path = folder / f"{kind}-{slug(device_name(device))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A run may be stopped at any time: what is read is the file before or the file after, never half of one.
    whole = path.with_suffix(".part")
    whole.write_text(json.dumps({**facts(device), **results}, indent=1) + "\n")
    whole.replace(path)
    return path


def model(name: str, **config: Any) -> MelFlow:
    """A model by name: a bundled one with its weights, others with random ones, and with what else is given."""
    if name in bundled_models():
        return native.load(find_checkpoint(name)).eval()
    if name in TOYS:
        name, config = name.removesuffix("-toy"), {"mel": TOY_MEL, **TOYS[name], **config}
    return with_random_weights(name, **config).eval()


def copy_in_double(like: MelFlow) -> MelFlow:
    """The same model in float64, the truth of every comparison."""
    return copy.deepcopy(like).double()


def speech(batch: int, n_frames: int, device: torch.device) -> Tensor:
    """Mels of real speech `(B, 80, F)`, each item beginning elsewhere in the same recordings."""
    mel = load_file(RESULTS / "speech_mel.safetensors")["mel"].float()
    repeated = mel.repeat(1, -(-n_frames // mel.shape[1]))[:, :n_frames]
    return torch.stack([repeated.roll(97 * b, dims=1) for b in range(batch)]).to(device)


def milliseconds(
    run: Callable[[], object], device: torch.device, *, seconds: float = 1.0, least: int = 5
) -> list[float]:
    """Of each of several runs, as many as fit in `seconds`, after warming up; a GPU's by its own clock."""
    for _ in range(2):
        run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or (time.perf_counter() < end and len(times) < 1000):
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop))
        else:
            begin = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begin))
    return times


def spread(times: list[float]) -> dict[str, float]:
    """Median and percentiles of some milliseconds."""
    at = {f"p{p}_ms": percentile(times, p) for p in (10, 90, 99)}
    # The median is p50.
    return {"median_ms": statistics.median(times), **at, "runs": len(times)}


def ceilings(device: torch.device, *, small: bool = False) -> dict[str, float]:
    """What the machine itself reaches: a matrix product of random numbers, and a copy, each read and written."""
    n = 64 if small else 8192 if device.type == "cuda" else 1024
    rates = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        ms = statistics.median(milliseconds(lambda a=a, b=b: a @ b, device, seconds=0.0 if small else 0.5))
        rates[f"matmul_{name}_tflops"] = 2 * n**3 / ms / 1e9
    source = torch.randn(1 << (30 if device.type == "cuda" else 24), device=device)
    target = torch.empty_like(source)
    ms = statistics.median(milliseconds(lambda: target.copy_(source), device, seconds=0.0 if small else 0.5))
    return {**rates, "copy_tbps": 2 * source.numel() * 4 / ms / 1e9}
