"""How soon streamed audio begins and how much faster than real time it goes on, on this machine.

    python scripts/benchmark_stream.py --threads 2 --json benchmarks/stream.json

First audio is timed in two ways. `framewise`: frames come one by one, and the clock runs from the frame that makes the
first audio certain to that audio. `at_once`: the whole mel is there, and the clock runs from the call. The margin is
seconds of audio per second of computation, over blocks of `--block` frames. Parity with the offline audio is checked
first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import torch

import waveflow
from waveflow.audio import io
from waveflow.inference import Stream, Vocoder
from waveflow.inference.benchmark.machine import device_name, percentile
from waveflow.inference.streaming import look_ahead_error

CLIP = Path(__file__).resolve().parent.parent / "tests" / "data" / "ljspeech" / "wavs" / "LJ001-0008.flac"
MIN_PARITY = 90.0


def percentiles(values: list[float], *, best: str) -> dict[str, float]:
    """What half, 90 % and 99 % of the values are at most (`best="low"`) or at least (`best="high"`)."""
    return {f"p{p}": round(percentile(values, p if best == "low" else 100 - p), 3) for p in (50, 90, 99)}


def parity(vocoder: Vocoder, mel: torch.Tensor) -> float:
    """Agreement of streamed and offline audio, dB."""
    return look_ahead_error(vocoder, mel, mel.shape[1])


def framewise(vocoder: Vocoder, mel: torch.Tensor, look_ahead: int | None) -> float:
    """Milliseconds from the frame that the first audio needs to that audio."""
    stream = Stream(vocoder, look_ahead=look_ahead)
    for frame in mel.split(1, dim=1):
        start = time.perf_counter()
        if len(stream.push(frame)):
            return 1000 * (time.perf_counter() - start)
    raise ValueError(f"{mel.shape[1]} frames are too few for any audio, give a longer recording")


def at_once(vocoder: Vocoder, mel: torch.Tensor, look_ahead: int | None) -> float:
    """Milliseconds from a whole mel to its first audio."""
    start = time.perf_counter()
    next(vocoder.stream([mel], look_ahead=look_ahead))
    return 1000 * (time.perf_counter() - start)


def margins(vocoder: Vocoder, mel: torch.Tensor, look_ahead: int | None, block: int) -> list[float]:
    """Times real time of each block."""
    stream, found = Stream(vocoder, look_ahead=look_ahead, block=block), []
    for frames in mel.split(block, dim=1):
        start = time.perf_counter()
        audio = stream.push(frames)
        if len(audio):
            found.append(len(audio) / vocoder.sample_rate / (time.perf_counter() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="bundled model or checkpoint directory; the bundled LapGlow")
    parser.add_argument("--audio", type=Path, default=CLIP, help="recording whose mel is streamed")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--runs", type=int, default=50, help="times that first audio is measured")
    parser.add_argument("--block", type=int, default=4, help="frames of a block of the margin")
    parser.add_argument("--look-ahead", type=int, nargs="*", default=[4, 8, 16, 32], help="shorter ones to measure")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    vocoder = waveflow.load(options.model, device="cpu", backend="reference")
    audio, _ = io.read(options.audio, sample_rate=vocoder.sample_rate)
    mel = vocoder.mel(audio)
    found = parity(vocoder, mel)
    if found < MIN_PARITY:
        raise SystemExit(f"streamed audio is {found:.1f} dB like the offline audio, expected {MIN_PARITY:g}")
    whole = Stream(vocoder).look_ahead
    rows = []
    for look_ahead in [whole, *options.look_ahead]:
        row = {
            "look_ahead_frames": look_ahead,
            "look_ahead_ms": round(1000 * look_ahead * vocoder.config.mel.hop_length / vocoder.sample_rate, 1),
            "snr_db": round(found if look_ahead == whole else look_ahead_error(vocoder, mel, look_ahead), 1),
        }
        for name, measure in (("framewise", framewise), ("at_once", at_once)):
            times = [measure(vocoder, mel, look_ahead) for _ in range(options.runs + 3)][3:]
            row[f"first_audio_{name}_ms"] = percentiles(times, best="low")
        row["x_real_time"] = percentiles(margins(vocoder, mel, look_ahead, options.block), best="high")
        rows.append(row)
        print(json.dumps(row))
    report = {
        "benchmark": "stream",
        "model": vocoder.name,
        "audio_seconds": round(len(audio) / vocoder.sample_rate, 2),
        "block_frames": options.block,
        "runs": options.runs,
        "threads": options.threads,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": device_name(torch.device("cpu")),
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
