"""The measurement: in every round each candidate has its turn, so that a busy minute strikes all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from waveflow.inference.benchmark.machine import Ceilings, MemoryGauge, clocked, facts, percentile
from waveflow.inference.benchmark.peers import PEERS
from waveflow.inference.benchmark.subjects import Flow, Subject, peer

# Where a stream may begin: eight frames of which the audio is wanted, and eight that reach into it.
FIRST_FRAMES = 16


@dataclass
class Candidate:
    """A model, or a peer, with the ways to run it: pairs of backend and dtype, of which a peer needs the dtype."""

    model: str
    ways: list[tuple[str, str]]


@dataclass
class Plan:
    """What to measure and how long.

    Attributes:
        candidates: In the order of the table.
        sizes: Pairs of batch and seconds of audio.
        rounds: Turns of each candidate.
        turn: Seconds of a turn; a call that has begun is finished.
        latency: Seconds spent on each candidate's first samples.
        minutes: After so many no round is begun but the first.
    """

    candidates: list[Candidate]
    sizes: list[tuple[int, float]] = field(default_factory=lambda: [(1, 5.0)])
    rounds: int = 5
    turn: float = 0.5
    latency: float = 2.0
    minutes: float = float("inf")


@dataclass
class _Entry:
    subject: Subject
    held: int | None
    times: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)


def run(
    plan: Plan,
    recording: Tensor,
    sample_rate: int,
    device: torch.device,
    report: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Measure everything in a plan.

    Args:
        plan: What and how long.
        recording: Speech whose mels are vocoded, `(T,)`.
        sample_rate: Its rate, Hz.
        device: Where.
        report: Told what is being done.

    Returns:
        The machine's `facts`, its `ceilings` in 1e9 multiply-accumulates and 1e9 bytes a second, `rows`, one for each
        candidate, way and size, and `left_out`: what could not be run, and why.
    """
    begin = time.perf_counter()
    gauge, left_out = MemoryGauge(device), {}
    entries: list[_Entry] = []
    for name, make in _makers(plan, recording, sample_rate, device):
        report(f"preparing {name}")
        before = gauge.now()
        try:
            subject = make()
        except (ValueError, RuntimeError, ImportError) as error:
            left_out[name] = str(error).splitlines()[0]
            continue
        entries.append(_Entry(subject, _less(gauge.now(), before)))
    dtypes = list(dict.fromkeys(entry.subject.dtype for entry in entries))
    ceilings = Ceilings(device, dtypes)
    reached: list[dict[str, float]] = []
    rows: list[dict[str, Any]] = []
    for batch, seconds in plan.sizes:
        rows += _measure(plan, entries, batch, seconds, device, ceilings, reached, begin, report)
    return {
        **facts(device),
        "ceilings": {name: statistics.median(rates[name] for rates in reached) for name in ceilings.names},
        "rows": rows,
        "left_out": left_out,
    }


def _makers(
    plan: Plan, recording: Tensor, sample_rate: int, device: torch.device
) -> Iterator[tuple[str, Callable[[], Subject]]]:
    for candidate in plan.candidates:
        if candidate.model in PEERS:
            for _, dtype in candidate.ways:
                yield f"{candidate.model} {dtype}", partial(peer, candidate.model, dtype, device)
            continue
        flow = Flow(candidate.model, recording, sample_rate, device)
        for backend, dtype in candidate.ways:
            name = f"{candidate.model} {backend} {dtype}"
            yield name, partial(flow.subject, backend, dtype)


def _measure(
    plan: Plan,
    entries: list[_Entry],
    batch: int,
    seconds: float,
    device: torch.device,
    ceilings: Ceilings,
    reached: list[dict[str, float]],
    begin: float,
    report: Callable[[str], None],
) -> list[dict[str, Any]]:
    gauge, mels, peaks = MemoryGauge(device), [], []
    for entry in entries:
        entry.times, entry.medians = [], []
        mels.append(entry.subject.mel(batch, seconds))
        report(f"warming up {_name(entry.subject)}, {batch} x {seconds:g} s")
        before = gauge.now()
        gauge.reset()
        entry.subject.call(mels[-1])
        peaks.append(_sum(entry.held, _less(gauge.peak(), before)))
    rates: list[dict[str, float]] = []
    for i in range(plan.rounds):
        if i and time.perf_counter() - begin > 60 * plan.minutes:
            break
        report(f"round {i + 1} of {plan.rounds}, {batch} x {seconds:g} s")
        rates.append(ceilings.measure())
        for entry, mel in zip(entries, mels):
            times = clocked(partial(entry.subject.call, mel), device, plan.turn)
            entry.times += times
            entry.medians.append(statistics.median(times))
    reached += rates
    rows = []
    for entry, mel, peak in zip(entries, mels, peaks):
        row = _row(entry, mel, batch, seconds, rates)
        row["times_the_float32_reference"] = _ratio(_reference(entries, entry), entry)
        row["peak_memory_mb"] = None if peak is None else peak / 1e6
        # `compile` would begin anew for another length.
        if batch == 1 and entry.subject.backend != "compile":
            report(f"first samples of {_name(entry.subject)}")
            row["first_samples_ms"] = _latency(entry.subject, mel[..., :FIRST_FRAMES], device, plan.latency)
        rows.append(row)
    return rows


def _row(entry: _Entry, mel: Tensor, batch: int, seconds: float, rates: list[dict[str, float]]) -> dict[str, Any]:
    subject = entry.subject
    length = batch * mel.shape[-1] * subject.frame_seconds
    share = [length / taken / rate[subject.dtype] for taken, rate in zip(entry.medians, rates)]
    return {
        "model": subject.model,
        "backend": subject.backend,
        "dtype": subject.dtype,
        "batch": batch,
        "seconds": seconds,
        "decibels": subject.decibels,
        "runs": len(entry.times),
        "rounds": len(entry.medians),
        "median_ms": 1e3 * statistics.median(entry.times),
        "x_real_time": {
            "median": length / statistics.median(entry.times),
            "p10": length / percentile(entry.times, 90),
            "p90": length / percentile(entry.times, 10),
        },
        "gmac_per_second": {"as_written": subject.gmac, "folded": subject.gmac_folded},
        "share_of_matrix_product": {
            "as_written": subject.gmac * statistics.median(share),
            "folded": subject.gmac_folded * statistics.median(share),
        },
    }


def _reference(entries: Sequence[_Entry], entry: _Entry) -> _Entry | None:
    wanted = (entry.subject.model, "reference", "float32")
    found = (e for e in entries if (e.subject.model, e.subject.backend, e.subject.dtype) == wanted)
    return next(found, None)


def _ratio(reference: _Entry | None, entry: _Entry) -> float | None:
    """How many times as fast, round by round."""
    if reference is None:
        return None
    return statistics.median(slow / fast for slow, fast in zip(reference.medians, entry.medians))


def _latency(subject: Subject, mel: Tensor, device: torch.device, seconds: float) -> dict[str, float]:
    """Milliseconds from the first frames of one utterance to their audio on the CPU."""
    clocked(lambda: subject.call(mel).cpu(), device, 0.0, least=2)
    times = clocked(lambda: subject.call(mel).cpu(), device, seconds, least=5)
    return {**{f"p{p}": 1e3 * percentile(times, p) for p in (50, 90, 99)}, "runs": len(times)}


def _name(subject: Subject) -> str:
    return f"{subject.model} {subject.backend} {subject.dtype}"


def _less(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else max(0, now - before)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
