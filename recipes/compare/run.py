"""Train every vocoder for the same seconds on the same recordings: likelihood, quality and cost, in a table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import choose, launch, markdown, new_figure, save_figure
from contestants import CONTESTANTS, fresh, loss_of

from waveflow.audio import io
from waveflow.audio.mel import MelSpectrogram
from waveflow.data.discovery import find_recordings
from waveflow.inference.fuse import fuse
from waveflow.losses import dequantize, log_likelihood
from waveflow.metrics.errors import UndefinedMetric
from waveflow.metrics.perceptual import pesq
from waveflow.models import MelFlow
from waveflow.models.cost import cost


@dataclass
class Config:
    """What is trained, on what, and for how long.

    Attributes:
        data: Folder of recordings.
        models: By the names in contestants.py.
        seconds: Of the processor, on one core, for the training of each model.
        held_out: Recordings that are set aside, spread over the folder.
        held_out_seconds: Of each, at most.
        segment: Samples of an item.
        batch_size: Items of a step.
        learning_rate: After a tenth of the time; from there it falls to zero along a line.
        sigma: Standard deviation of the latent for synthesis.
        seed: Of weights, items and noise.
        out: Where results are written.
    """

    data: str = "tests/data"
    models: list[str] = field(default_factory=lambda: [*CONTESTANTS])
    seconds: float = 120.0
    held_out: int = 4
    held_out_seconds: float = 3.0
    segment: int = 4096
    batch_size: int = 8
    learning_rate: float = 1e-3
    sigma: float = 0.7
    seed: int = 0
    out: str = "runs/compare"


def recordings(config: Config, sample_rate: int) -> tuple[list[Tensor], list[Tensor]]:
    """Clips `(T,)` to train on, and clips held out, of whole mel frames."""
    paths = [found.path for found in find_recordings(Path(config.data)) if found.path is not None]
    clips = [io.read(path, sample_rate=sample_rate)[0] for path in paths]
    apart = {k * len(clips) // config.held_out for k in range(config.held_out)}
    most = round(config.held_out_seconds * sample_rate) // 1024 * 1024
    held_out = [clips[k][: min(most, len(clips[k]) // 1024 * 1024)] for k in sorted(apart)]
    seen = [clip for k, clip in enumerate(clips) if k not in apart and len(clip) > config.segment]
    if not seen or not held_out:
        raise SystemExit(f"{config.data} has {len(clips)} recordings; lower held_out={config.held_out} or segment")
    return seen, held_out


def batch(clips: Sequence[Tensor], config: Config, generator: torch.Generator) -> Tensor:
    """Pieces of clips, by how long these are, `(B, segment)`, dequantized."""
    lengths = torch.tensor([len(clip) - config.segment for clip in clips], dtype=torch.float32)
    pieces = []
    for k in torch.multinomial(lengths, config.batch_size, replacement=True, generator=generator).tolist():
        start = int(torch.randint(int(lengths[k]), (), generator=generator))
        pieces.append(clips[k][start : start + config.segment])
    return dequantize(torch.stack(pieces), generator)


def train(name: str, clips: Sequence[Tensor], config: Config) -> tuple[MelFlow, int]:
    """Train a fresh model until its time is over; also the steps it made of it."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    model, loss_function = fresh(name).train(), loss_of(name)
    transform = MelSpectrogram(model.mel_config)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate)
    started, steps, spent = time.process_time(), 0, 0.0
    while spent < config.seconds:
        audio = batch(clips, config, generator)
        share = spent / config.seconds
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(10 * share + 0.01, (1 - share) / 0.9)
        optimizer.zero_grad()
        loss_function(model, audio, transform(audio)).backward()
        if nn.utils.clip_grad_norm_(model.parameters(), 5.0).isfinite():
            optimizer.step()
        steps, spent = steps + 1, time.process_time() - started
    return model.eval(), steps


@torch.no_grad()
def evaluate(model: MelFlow, clips: Sequence[Tensor], config: Config) -> dict[str, float]:
    """Held-out likelihood, and how the synthesis of the same mels sounds and how fast it comes."""
    transform, rate = MelSpectrogram(model.mel_config), model.mel_config.sample_rate
    fused = fuse(model)
    nats = distance = seconds = samples = 0.0
    scores = []
    for k, clip in enumerate(clips):
        generator = torch.Generator().manual_seed(k)
        mel = transform(clip[None])
        # A trace that is estimated draws from the global generator.
        torch.manual_seed(k)
        nats += log_likelihood(*model(dequantize(clip[None], generator), mel)).item()
        samples += len(clip)
        z = config.sigma * torch.randn(1, len(clip), generator=generator)
        started = time.process_time()
        audio = fused.inverse(z, mel)
        seconds += time.process_time() - started
        distance += (transform(audio) - mel).abs().mean().item() / len(clips)
        try:
            scores.append(pesq(clip, audio[0].clamp(-1, 1), rate))
        except UndefinedMetric:
            # What has no speech in it has the lowest score there is.
            scores.append(1.02)
    return {
        "nats": nats / samples,
        "pesq": sum(scores) / len(scores),
        "log_mel_l1": distance,
        "real_time": samples / rate / seconds,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a model, in Markdown."""
    formats = {
        "steps": ("steps", "{}"),
        "parameters": ("parameters", "{}"),
        "nats": ("nats a sample", "{:.3f}"),
        "pesq": ("PESQ", "{:.2f}"),
        "log_mel_l1": ("log-mel L1", "{:.2f}"),
        "gmac_per_second": ("GMAC a second", "{:.2f}"),
        "real_time": ("x real time", "{:.1f}"),
    }
    cells = [[row["model"], *(shape.format(row[key]) for key, (_, shape) in formats.items())] for row in rows]
    return markdown(["model", *(name for name, _ in formats.values())], cells)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Likelihood, and distance from the mel, against the cost of synthesis."""
    figure, axes = new_figure(1, 2, 8.4, 3.4)
    for axis, key, label in zip(axes[0], ("nats", "log_mel_l1"), ("nats a sample", "log-mel L1")):
        for row in rows:
            axis.plot(row["gmac_per_second"], row[key], "o")
            axis.annotate(
                row["model"], (row["gmac_per_second"], row[key]), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
        axis.set(xscale="log")
        axis.set_xlabel("GMAC a second of audio", fontsize=8)
        axis.set_title(label, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.margins(0.2)
    return save_figure(figure, path, dpi=90)


def main(config: Config) -> None:
    """Train one after the other, print the table, draw the plot."""
    choose(config.models, CONTESTANTS)
    torch.set_num_threads(1)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    rows, clips = [], None
    for name in config.models:
        if clips is None:
            clips = recordings(config, fresh(name).mel_config.sample_rate)
        with console.status(f"{name}: {config.seconds:g} s of training"):
            model, steps = train(name, clips[0], config)
            rows.append({"model": name, "steps": steps, **cost(model), **evaluate(model, clips[1], config)})
        # One model at a time, so that what is there is not lost where the rest is stopped.
        (out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
        (out / "table.md").write_text(table(rows))
    print(table(rows))
    print(draw(rows, out / "vocoders.png"))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
