"""The state of a run on disk: checkpoints that appear whole, rotate, and are checked before they are trusted."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from waveflow.checkpoints import CheckpointError, atomic_directory

FACTS, STATE = "state.json", "state.pt"
FORMAT, FORMAT_VERSION = "waveflow-training", 1


class _DamagedError(CheckpointError):
    """The checkpoint is not what was written."""


class Checkpoints:
    """The checkpoints of a run: directories `step-<n>` with `state.json` and `state.pt`.

    The newest `keep` stay, and the one with the fewest held-out bits per sample. A checkpoint is written beside its
    place, flushed to the disk and renamed, so that a run that dies while writing leaves the ones before it intact.

    Args:
        directory: Created with the first checkpoint.
        keep: How many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory, self.keep = directory, keep

    def save(self, state: dict[str, Any], step: int, bits: float | None = None) -> Path:
        """Write the state after `step` steps, and remove what is no longer kept.

        Args:
            state: Tensors, numbers, texts, and dicts and lists of them.
            step: Optimizer steps done.
            bits: Held-out bits per sample of this state, where they were measured.

        Raises:
            CheckpointError: The disk is full, or the folder cannot be written; all that was there is unchanged.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getbuffer()
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "step": step,
            "bits": bits,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        target = self.path(step)
        with atomic_directory(target) as staging:
            (staging / STATE).write_bytes(data)
            (staging / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        self._rotate()
        return target

    def load(self, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
        """Read the newest state that is whole.

        Args:
            say: Told about each newer one that is damaged, which is renamed out of the way.

        Returns:
            Its directory and what was saved, on the CPU; None where the run has no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but none can be read.
        """
        damaged = []
        for path in self._newest_first():
            try:
                return path, self.read(path)
            except _DamagedError as error:
                damaged.append(path.name)
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                say(f"{error}; it is now called {aside.name}, and the one before it is taken")
        if damaged:
            raise CheckpointError(
                f"none of the checkpoints in {self.directory} can be read ({', '.join(damaged)}); "
                "restore one, or start anew with another train.out"
            )
        return None

    def path(self, step: int) -> Path:
        """The directory of the checkpoint after `step` steps."""
        return self.directory / f"step-{step:08d}"

    def newest(self) -> Path | None:
        """The newest checkpoint, unread."""
        return next(iter(self._newest_first()), None)

    def _newest_first(self) -> list[Path]:
        return sorted((p for p in self.directory.glob("step-*") if p.is_dir()), reverse=True)

    def read(self, path: Path) -> dict[str, Any]:
        """What was saved in one checkpoint, on the CPU.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        try:
            facts = dict(json.loads((path / FACTS).read_text(encoding="utf-8")))
            data = (path / STATE).read_bytes()
        except (OSError, TypeError, ValueError) as error:
            raise _DamagedError(f"the checkpoint {path} is damaged: {error}") from error
        if facts.get("format") != FORMAT or hashlib.sha256(data).hexdigest() != facts.get("sha256"):
            raise _DamagedError(f"the checkpoint {path} is damaged: {STATE} is not what {FACTS} says it is")
        if facts.get("format_version") != FORMAT_VERSION:
            raise CheckpointError(
                f"the checkpoint {path} has format_version {facts.get('format_version')}, this version of waveflow "
                f"reads {FORMAT_VERSION}; go on with the version that wrote it, or choose another train.out"
            )
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)

    def _bits(self, path: Path) -> float:
        try:
            bits = dict(json.loads((path / FACTS).read_text(encoding="utf-8"))).get("bits")
        except (OSError, TypeError, ValueError):
            bits = None
        return math.inf if bits is None else bits

    def _rotate(self) -> None:
        newest_first = self._newest_first()
        best = min(newest_first, key=self._bits)
        for path in newest_first[self.keep :]:
            if path != best or self._bits(best) == math.inf:
                shutil.rmtree(path, ignore_errors=True)
        for leftover in self.directory.glob(".step-*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
