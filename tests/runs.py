"""Small training runs: a corpus of six clips, a config for seconds, and what a run left behind.

As a script it trains: `python tests/runs.py config.json`, also under torchrun. `python tests/runs.py config.json 1 5`
is killed on process 1 after step 5, unless torchrun has started it again.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from waveflow.audio.io import info
from waveflow.data.manifest import Entry, Manifest
from waveflow.training import TrainConfig, train
from waveflow.training.run import Run

HELD_OUT = ("LJ001-0002", "arctic_a0005_1592748467")

SMALL: dict[str, Any] = {
    "model": "lapglow",
    "model_config": {"n_flows": 2, "n_channels": 8, "dilations": [1]},
    "data": {"segment": 4096, "batch_size": 4, "workers": 0},
    "schedule": {"warmup": 2},
    "train": {
        "steps": 6,
        "bf16": False,
        "device": "cpu",
        "log_every": 1,
        "validate_every": 3,
        "validate_seconds": 0.5,
        "save_every": 2,
        "listen": 0,
    },
}


def write_corpus(clips: Path, folder: Path) -> Path:
    """Copy clips `<speaker>/wavs/<clip>.flac` into a corpus with a manifest: four to train on, two held out."""
    entries = []
    for path in sorted(clips.rglob("*.flac")):
        speaker = path.parts[-3]
        (folder / speaker).mkdir(exist_ok=True)
        shutil.copy(path, folder / speaker)
        found = info(path)
        entries.append(
            Entry(
                id=f"{speaker}/{path.stem}",
                path=f"{speaker}/{path.name}",
                speaker=speaker,
                text="",
                sample_rate=found.sample_rate,
                n_samples=found.n_samples,
                duration=found.duration,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                split="validation" if path.stem in HELD_OUT else "train",
            )
        )
    Manifest(folder, tuple(entries)).write()
    return folder


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with others on top."""
    merged = dict(values)
    for name, change in changes.items():
        merges = isinstance(change, dict) and name != "model_config"
        merged[name] = changed(values.get(name, {}), change) if merges else change
    return merged


def interrupt_after(steps: int, patch: pytest.MonkeyPatch, number: int = signal.SIGTERM) -> None:
    """Let this process send itself a signal after so many steps of a run."""
    apply = Run.apply_gradients

    def and_then(self: Run) -> float:
        norm = apply(self)
        if self.step == steps:
            os.kill(os.getpid(), number)
        return norm

    patch.setattr(Run, "apply_gradients", and_then)


def checkpoint_of(out: str | Path) -> dict[str, Any]:
    """What the newest checkpoint of a run holds."""
    path = sorted((Path(out) / "checkpoints").glob("step-*"))[-1]
    return torch.load(path / "state.pt", weights_only=True)


def log_of(out: str | Path, section: str = "train") -> list[dict[str, float]]:
    """The figures that a run logged."""
    lines = map(json.loads, (Path(out) / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["section"] == section]


def weights_of(state: dict[str, Any]) -> torch.Tensor:
    """All weights, averages and optimizer moments of a checkpoint, as one vector."""
    moments = [m for moment in state["optimizer"]["state"].values() for m in moment.values()]
    return torch.cat([t.double().flatten() for t in (*state["model"].values(), *state["average"].values(), *moments)])


def main(config: str, rank: str = "", step: str = "") -> None:
    """Train; where a rank is given, die there by SIGKILL after a step of the first attempt."""
    with pytest.MonkeyPatch.context() as patch:
        if rank and (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == (rank, "0"):
            interrupt_after(int(step), patch, signal.SIGKILL)
        train(TrainConfig.from_dict(json.loads(Path(config).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
