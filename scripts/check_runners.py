"""Preprocess a corpus of many files, some of them damaged, by both runners, and compare what they made.

python scripts/check_runners.py --files 1000 --damaged 0.05
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from waveflow.audio import io
from waveflow.data.preprocess import preprocess

RATE = 22050
PRODUCTS = ("manifest.jsonl", "report.json", "report.csv")


def write_corpus(folder: Path, n: int, damaged: float) -> int:
    """Write recordings of four speakers, every so many of them damaged in one of five ways; how many those are."""
    generator = torch.Generator().manual_seed(0)
    every, count = round(1 / damaged), 0
    for k in range(n):
        path = folder / f"speaker{k % 4}" / f"{k:06d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        io.write(path, 0.1 * torch.randn(RATE, generator=generator), RATE)
        if k % every == 0:
            _damage(path, count % 5)
            count += 1
    return count


def _damage(path: Path, kind: int) -> None:
    if kind == 0:
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == 1:
        path.write_bytes(b"")
    elif kind == 2:
        path.write_text("no sound\n")
    elif kind == 3:
        io.write(path, torch.zeros(RATE), RATE)
    else:
        io.write(path, 0.1 * torch.randn(RATE // 10, generator=torch.Generator().manual_seed(1)), RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--damaged", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        damaged = write_corpus(folder / "in", args.files, args.damaged)
        seconds = {}
        for runner in ("local", "ray"):
            start = time.monotonic()
            report = preprocess([folder / "in"], folder / runner, runner=runner, workers=args.workers)
            seconds[runner] = round(time.monotonic() - start, 1)
        same = {f: (folder / "local" / f).read_bytes() == (folder / "ray" / f).read_bytes() for f in PRODUCTS}
        facts = {
            "files": args.files,
            "damaged": damaged,
            "kept": len(report.manifest.entries),
            "set_aside": dict(Counter(rejected.reason for rejected in report.rejected)),
            "seconds": seconds,
            "identical": same,
        }
        print(json.dumps(facts, indent=2))
        if not all(same.values()) or len(report.rejected) != damaged:
            raise SystemExit("the runners disagree, or a damaged file was not set aside")


if __name__ == "__main__":
    main()
