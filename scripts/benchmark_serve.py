"""Load a server as rough clients would, and tell errors, latency, memory, and whether the audio is the offline one.

Many clients at a time send mels of mixed lengths; some send garbage, some hang up, some stall in the middle of a body.
Then the same load meets a server that computes requests one by one. The offline audio is that of the backend on which
the server settles, and must be met bit for bit; how far the backends are from each other is told beside it.

    python scripts/benchmark_serve.py --seconds 60 --json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from waveflow.audio.io import read
from waveflow.inference import Vocoder, load
from waveflow.inference.benchmark.machine import device_name

SPEECH = Path(__file__).parents[1] / "tests" / "data"
MALFORMED, HANG_UP, STALL = 0.01, 0.02, 0.01
LENGTHS = (25, 40, 60, 86, 130, 172, 215, 258, 344, 430, 517)
# Between backends, relative to the peak: float32 sums in another order, as the flow amplifies them.
TOLERANCE = 1e-4
GARBAGE = (
    b"",
    b"garbage",
    b"{" * 5000,
    b'{"mel": [[1e999]]}',
    b"RIFF" + bytes(60),
    b"\x93NUMPY\x01\x00\x08\x00{'a': 1}",
    b"\xff" * 1000,
)


@dataclass
class Case:
    """A request and the audio that it must get."""

    body: bytes
    seed: int
    expected: np.ndarray


@dataclass
class Tally:
    """What happened in one load."""

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    worst: float = 0.0
    seconds_of_audio: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)

    def wrong(self, what: str) -> None:
        self.outcomes["wrong"] += 1
        self.errors.append(what)


def make_cases(vocoder: Vocoder, other: Vocoder) -> tuple[list[Case], float]:
    """Mels of real speech, of all lengths, with their offline audio; and the most that another backend's differs."""
    clips = [read(path, sample_rate=vocoder.sample_rate)[0] for path in sorted(SPEECH.rglob("*.flac"))]
    speech = torch.cat(clips)
    cases, apart = [], 0.0
    for seed, n_frames in enumerate(LENGTHS):
        n_samples = vocoder.config.mel.samples(n_frames)
        start = random.Random(seed).randrange(len(speech) - n_samples)
        mel = vocoder.mel(speech[start : start + n_samples])[:, :n_frames].cpu()
        file = io.BytesIO()
        np.save(file, mel.numpy())
        cases.append(Case(file.getvalue(), seed, vocoder(mel, seed=seed).cpu().numpy()))
        apart = max(apart, difference(other(mel, seed=seed).cpu().numpy(), cases[-1].expected))
    return cases, apart


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest, relative to the peak."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


class Server:
    """`waveflow serve` in a process of its own."""

    def __init__(self, model: str | None, *options: str) -> None:
        command = [sys.executable, "-m", "waveflow.cli.main", "serve", "--port", "0", *options]
        command += ["-m", model] if model else []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr or ():
            if found := re.search(r"on http://127.0.0.1:(\d+)", line):
                self.port = int(found[1])
                return
            sys.stderr.write(line)
        raise RuntimeError("the server did not start")

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(60)


async def ask(port: int, path: str, body: bytes | None = None, part: float = 1.0) -> tuple[int, bytes]:
    """Send a request, or the first part of its body alone, and read the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        method, length = ("GET", 0) if body is None else ("POST", len(body))
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + (body or b"")[: int(length * part)])
        await writer.drain()
        answer = await reader.read()
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        return int(head_bytes.split(b" ", 2)[1]), content
    finally:
        writer.close()


async def client(port: int, cases: list[Case], chance: random.Random, until: float, rate: int, tally: Tally) -> None:
    """Ask again and again; now and then misbehave."""
    while time.monotonic() < until:
        case, dice = chance.choice(cases), chance.random()
        path = f"/v1/vocode?format=f32&seed={case.seed}"
        try:
            if dice < MALFORMED:
                status, content = await ask(port, path, chance.choice(GARBAGE))
                if status == 400 and json.loads(content)["error"]:
                    tally.outcomes["malformed, refused"] += 1
                elif status == 429:
                    tally.outcomes["full"] += 1
                else:
                    tally.wrong(f"garbage was answered {status}")
            elif dice < MALFORMED + HANG_UP:
                await leave(port, path, case.body, 1.0, chance.uniform(0, 0.5))
                tally.outcomes["hung up"] += 1
            elif dice < MALFORMED + HANG_UP + STALL:
                await leave(port, path, case.body, 0.5, chance.uniform(1, 5))
                tally.outcomes["stalled"] += 1
            else:
                await well(port, path, case, rate, tally)
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
            tally.wrong(f"{type(error).__name__}: {error}")


async def leave(port: int, path: str, body: bytes, part: float, after: float) -> None:
    """Send a request, or part of it, and go away."""
    with contextlib.suppress(asyncio.TimeoutError, IndexError):
        await asyncio.wait_for(ask(port, path, body, part), after)


async def well(port: int, path: str, case: Case, rate: int, tally: Tally) -> None:
    start = time.monotonic()
    status, content = await ask(port, path, case.body)
    if status == 429:
        tally.outcomes["full"] += 1
        await asyncio.sleep(0.2)
        return
    if status != 200:
        tally.wrong(f"a good request was answered {status}: {content[:200]!r}")
        return
    tally.latencies.append(time.monotonic() - start)
    found = np.frombuffer(content, "<f4")
    if found.shape != case.expected.shape:
        tally.wrong(f"audio of {found.shape} samples, expected {case.expected.shape}")
        return
    error = difference(found, case.expected)
    tally.worst = max(tally.worst, error)
    if error:
        tally.wrong(f"audio off by {error:.1e} of its peak")
        return
    tally.outcomes["served"] += 1
    tally.seconds_of_audio += len(found) / rate


async def watch(port: int, start: float, until: float, tally: Tally) -> None:
    """Read the server's memory once a second."""
    while time.monotonic() < until:
        _, text = await ask(port, "/metrics")
        found = re.search(rb"\nprocess_resident_memory_bytes (\S+)", text)
        if found:
            tally.memory.append((time.monotonic() - start, float(found[1]) / 2**20))
        await asyncio.sleep(1)


async def load_it(port: int, cases: list[Case], n_clients: int, seconds: float, rate: int) -> tuple[Tally, str]:
    """All clients for some seconds; what happened, and the server's counters afterwards."""
    tally, start = Tally(), time.monotonic()
    chances = [random.Random(i) for i in range(n_clients)]
    clients = (client(port, cases, chance, start + seconds, rate, tally) for chance in chances)
    await asyncio.gather(watch(port, start, start + seconds, tally), *clients)
    _, text = await ask(port, "/metrics")
    return tally, text.decode()


def measure(
    cases: list[Case], options: argparse.Namespace, seconds: float, rate: int, *flags: str
) -> dict[str, object]:
    """Start a server, load it, end it."""
    server = Server(options.model, "--device", "cpu", *flags)
    try:
        asyncio.run(load_it(server.port, cases, min(8, options.clients), 2, rate))
        start = time.monotonic()
        tally, counters = asyncio.run(load_it(server.port, cases, options.clients, seconds, rate))
        taken = time.monotonic() - start
    finally:
        code = server.stop()
    failures = sum(float(n) for n in re.findall(r'requests_total{[^}]*status="5\d\d"} (\S+)', counters))
    batches = float(re.search(r"batch_utterances_count (\S+)", counters)[1])
    utterances = float(re.search(r"batch_utterances_sum (\S+)", counters)[1])
    latencies = np.array(tally.latencies or [np.nan])
    settled = [memory for at, memory in tally.memory if at >= seconds / 4]
    return {
        "seconds": round(taken, 1),
        "outcomes": dict(sorted(tally.outcomes.items())),
        "errors": sorted(set(tally.errors))[:10],
        "answers_5xx": failures,
        "latency_s": {f"p{p}": round(float(np.percentile(latencies, p)), 3) for p in (50, 90, 99)},
        "requests_a_second": round(tally.outcomes["served"] / taken, 2),
        "audio_seconds_a_second": round(tally.seconds_of_audio / taken, 2),
        "utterances_a_batch": round(utterances / batches, 2),
        "worst_difference_from_offline": tally.worst,
        "memory_mib": {
            "first": round(tally.memory[0][1]),
            "after_a_quarter": round(settled[0]),
            "last": round(settled[-1]),
            "most": round(max(memory for _, memory in tally.memory)),
        },
        "exit_code": code,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "-m", help="bundled model or checkpoint directory")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load on the batching server")
    parser.add_argument("--single-seconds", type=float, help="of load on the server without batches; half of that")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    options = parser.parse_args()
    vocoder = load(options.model, device="cpu")
    vocoder.settle()
    cases, apart = make_cases(vocoder, load(options.model, device="cpu", backend="reference"))
    rate = vocoder.sample_rate
    batched = measure(cases, options, options.seconds, rate)
    alone = ("--max-batch-frames", "1", "--batch-window-ms", "0")
    single = measure(cases, options, options.single_seconds or options.seconds / 2, rate, *alone)
    report = {
        "model": vocoder.name,
        "backend": vocoder.backend,
        "clients": options.clients,
        "machine": {
            "cpu": device_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_average": round(os.getloadavg()[0], 1),
        },
        "torch": torch.__version__,
        "reference_differs_by": apart,
        "batched": batched,
        "one_by_one": single,
        "gain": round(batched["audio_seconds_a_second"] / max(1e-9, single["audio_seconds_a_second"]), 3),
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        for name in ("batched", "one_by_one"):
            print(name)
            for key, value in report[name].items():
                print(f"  {key}: {value}")
        print(f"batching gives {report['gain']} times the throughput")
    failed = any(row["errors"] or row["answers_5xx"] or row["exit_code"] for row in (batched, single))
    sys.exit(1 if failed or apart > TOLERANCE else 0)


if __name__ == "__main__":
    main()
