"""The machine: what it is, how fast it multiplies and copies, and what a call costs in time and memory."""

from __future__ import annotations

import datetime
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from waveflow._version import __version__

PACKAGES = ("torch", "triton", "numba", "transformers", "vocos")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now() -> str:
    """The time to the second, in UTC, as ISO 8601 writes it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def facts(device: torch.device) -> dict[str, Any]:
    """When, where and with what a measurement was made."""
    found: dict[str, Any] = {
        "date": now(),
        "device": device_name(device),
        "python": platform.python_version(),
        "waveflow": __version__,
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if device.type == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        return found | {"capability": capability, "cuda": torch.version.cuda}
    return found | {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name for itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Ceilings:
    """The rate of a square matrix product of each dtype, and of a copy.

    Attributes:
        names: `float32`, `bfloat16`, ... in 1e9 multiply-accumulates a second; `copy` in 1e9 bytes read and written.
    """

    def __init__(self, device: torch.device, dtypes: Sequence[str]) -> None:
        self.names = (*dtypes, "copy")
        self._device = device
        side = 8192 if device.type == "cuda" else 1024
        self._work: dict[str, tuple[float, Callable[[], object]]] = {}
        for name in dtypes:
            a, b = (torch.randn(side, side, device=device).to(getattr(torch, name)) for _ in range(2))
            self._work[name] = side**3, partial(torch.matmul, a, b)
        source = torch.randn(1 << (28 if device.type == "cuda" else 24), device=device)
        target = torch.empty_like(source)
        self._work["copy"] = 2 * source.numel() * source.element_size(), partial(target.copy_, source)

    def measure(self, seconds: float = 0.1) -> dict[str, float]:
        """Median rates now, each from at least three runs."""
        return {
            name: amount / statistics.median(clocked(work, self._device, seconds, least=3)) / 1e9
            for name, (amount, work) in self._work.items()
        }


def clocked(
    run: Callable[[], object], device: torch.device, seconds: float, *, least: int = 1, most: int = 1000
) -> list[float]:
    """Seconds of each of several runs, from before the call to the end of its work on the device."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < least or (time.perf_counter() - begin < seconds and len(times) < most):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - start)
    return times


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest value that at least `p` percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]


class MemoryGauge:
    """Bytes in use now, and at most since the last `reset`; None where the system does not tell."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> int | None:
        """Bytes in use: of tensors on a CUDA device, else of the process in main memory."""
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return _status("VmRSS")

    def reset(self) -> None:
        """Forget the highest use so far."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif CLEAR.exists():
            CLEAR.write_text("5")

    def peak(self) -> int | None:
        """The most bytes in use since the last `reset`, as `now` counts them."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _status("VmHWM") if CLEAR.exists() else None


def _status(field: str) -> int | None:
    if not STATUS.exists():
        return None
    values = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith(field)]
    return 1024 * int(values[0]) if values else None
