"""What a run tells: a line on the terminal, a log in JSON lines, and TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor


class Rendering(NamedTuple):
    """A recording and what the model makes of its mel: audio `(T,)`, mels `(n_mels, F)`, on the CPU."""

    id: str
    reference: Tensor
    synthesis: Tensor
    reference_mel: Tensor
    synthesis_mel: Tensor


class Reporter:
    """Reports of process 0; the others have one that is silent.

    On a terminal one line follows the run, elsewhere each report is a line of its own. All figures also go to
    `log.jsonl` and to TensorBoard in the folder of the run.

    Args:
        folder: Of the run; None is silent.
        n_steps: Steps of the whole run.
        first_step: Steps already done.
        console: Where to print.
    """

    def __init__(self, folder: Path | None, n_steps: int, first_step: int = 0, console: Console | None = None) -> None:
        self.folder, self.n_steps = folder, n_steps
        self.console = console or Console(stderr=True)
        self.clock, self.clock_step = time.monotonic(), first_step
        self.writer: Any = None
        self.heard: set[str] = set()
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
        self.log = open(folder / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.progress.add_task("training", total=n_steps, completed=first_step)

    def __enter__(self) -> Reporter:
        if self.writer:
            self.progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.writer:
            self.progress.stop()
            self.writer.close()
            self.log.close()

    def say(self, *messages: str) -> None:
        """Print sentences, each on a line."""
        for message in messages if self.writer else ():
            self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def rate(self, step: int) -> float:
        """Steps per second since `restart_clock`."""
        return (step - self.clock_step) / max(time.monotonic() - self.clock, 1e-9)

    def restart_clock(self, step: int) -> None:
        """Begin to measure the rate anew, after a report or after what is no training."""
        self.clock, self.clock_step = time.monotonic(), step

    def figures(self, step: int, section: str, **figures: float) -> None:
        """Report numbers after `step` steps."""
        if not self.writer:
            return
        for name, value in figures.items():
            self.writer.add_scalar(f"{section}/{name}", value, step)
        self.log.write(json.dumps({"step": step, "section": section, **figures}) + "\n")
        self.log.flush()
        line = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if section == "train" and self.console.is_terminal:
            self.progress.update(self.task, completed=step, description=line)
        else:
            self.say(f"{section} {step}/{self.n_steps}  {line}")

    def sound(self, step: int, rendering: Rendering, sample_rate: int) -> None:
        """Let TensorBoard play a held-out recording and its synthesis, and show their mels and the difference."""
        if not self.writer:
            return
        name = rendering.id
        if name not in self.heard:
            self.writer.add_audio(f"{name}/recording", rendering.reference[None], step, sample_rate)
            self.heard.add(name)
        self.writer.add_audio(f"{name}/synthesis", rendering.synthesis[None], step, sample_rate)
        shown = picture(rendering.reference_mel, rendering.synthesis_mel)
        self.writer.add_image(f"{name}/recording, synthesis, difference", shown, step)


def picture(reference: Tensor, synthesis: Tensor) -> np.ndarray:
    """Two mels `(n_mels, F)` and their difference one above the other: RGB `(3, 3 n_mels + 4, F)`, 0 to 255."""
    low, high = reference.min(), reference.max().clamp_min(reference.min() + 1e-6)
    scaled = [((m - low) / (high - low)).clamp(0, 1).flip(0) for m in (reference, synthesis)]
    scaled.append(((synthesis - reference).flip(0).abs() / (high - low)).clamp(0, 1))
    gap = torch.ones(2, reference.shape[1])
    values = torch.cat([scaled[0], gap, scaled[1], gap, scaled[2]]).numpy()
    channels = [np.interp(values, _LEVELS, column) for column in zip(*_COLOURS)]
    return np.stack(channels).astype(np.uint8)


# Dark to light with rising lightness, so that it reads in grey as well.
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_COLOURS = ((0, 0, 30), (70, 10, 110), (180, 50, 90), (245, 140, 50), (255, 250, 200))
