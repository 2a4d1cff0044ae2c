"""The recordings of a research run: what it trains on, what is held out, and how the latter come out."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.losses import dequantize, nats_per_sample
from waveflow.models import MelFlow

HELD_OUT = Path(__file__).parents[1] / "heldout.txt"
SPEAKERS = ("ljspeech", "kathleen")
FASTER = (1.04, 1.08, 1.12)
"""Speeds at which clips are played besides their own. Slower ones would leave the highest bands empty."""


class Clips:
    """Recordings of several speakers in memory, as 16-bit integers, sampled evenly over speakers.

    Args:
        files: For each speaker, paths of clips at the model's rate.
        segment: Samples of a training item.
        margin: Real samples kept on each side of it, so that its mel is that of the whole recording.
        minutes: Use no more than this of each speaker.
        augment: Play half of the items at another level than recorded.
        faster: Part of the items that are played at one of the speeds `FASTER`.
    """

    def __init__(
        self,
        files: dict[str, list[Path]],
        sample_rate: int,
        segment: int,
        margin: int,
        minutes: float | None = None,
        augment: bool = True,
        faster: float = 0.0,
    ) -> None:
        self.segment, self.margin, self.augment, self.faster = segment, margin, augment, faster
        self.speakers = []
        for paths in files.values():
            clips, left = [], math.inf if minutes is None else minutes * 60 * sample_rate
            for path in paths:
                audio, rate = soundfile.read(path, dtype="int16")
                if rate != sample_rate:
                    raise SystemExit(f"{path} is at {rate} Hz, expected {sample_rate}; resample the corpus first")
                if left <= 0:
                    break
                left -= len(audio)
                clips.append(np.pad(audio, margin))
            clips = [c for c in clips if len(c) >= segment + 2 * margin]
            if clips:
                self.speakers.append(clips)
        if not self.speakers:
            raise SystemExit(f"no clip is as long as a segment of {segment} samples; give longer clips")
        rms = [np.sqrt(np.mean([np.mean((c / 32768.0) ** 2) for c in clips])) for clips in self.speakers]
        self.gains = [rms[0] / r for r in rms]

    def batch(self, size: int, rng: np.random.Generator) -> Tensor:
        """Draw `(size, segment + 2 margin)` float audio."""
        rows = []
        for i in range(size):
            speaker = (i + int(rng.integers(len(self.speakers)))) % len(self.speakers)
            clips = self.speakers[speaker]
            lengths = np.array([len(c) for c in clips], dtype=np.float64)
            clip = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
            audio = self._cut(clip, rng) / 32768
            gain = self.gains[speaker]
            if self.augment and rng.random() < 0.5:
                gain *= 10 ** (rng.uniform(-12, 6) / 20)
            gain = min(gain, 0.99 / max(np.abs(audio).max(), 1e-4))
            rows.append(audio * np.float32(gain * rng.choice([-1, 1])))
        return torch.from_numpy(np.stack(rows))

    def _cut(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random part of a clip, as float32 of 16-bit size, played faster by chance."""
        size = self.segment + 2 * self.margin
        speed = rng.choice(FASTER) if self.faster and rng.random() < self.faster else 1.0
        if len(clip) < size * speed:
            speed = 1.0
        needed = math.ceil(size * speed)
        start = int(rng.integers(len(clip) - needed + 1))
        part = clip[start : start + needed].astype(np.float32)
        if speed == 1.0:
            return part
        return np.round(soxr.resample(part, 1000 * speed, 1000)[:size].clip(-32768, 32767))


def held_out_lines() -> list[str]:
    """The lines of `scripts/heldout.txt` that name clips or speakers."""
    return [line for line in HELD_OUT.read_text().splitlines() if line and not line.startswith("#")]


def held_out_clips(data: Path, *corpora: str) -> list[Path]:
    """The held-out clips of some corpora that a folder has."""
    found = [data / line for line in held_out_lines() if line.startswith(corpora) and (data / line).is_file()]
    if not found:
        raise SystemExit(f"no clip of {HELD_OUT} is in {data}; give the folder with ljspeech/ and kathleen/")
    return found


def find_clips(data: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Training clips by speaker, and the held-out ones."""
    held_out = held_out_lines()
    train = {
        speaker: [p for p in sorted((data / speaker).rglob("*.flac")) if str(p.relative_to(data)) not in held_out]
        for speaker in SPEAKERS
        if (data / speaker).is_dir()
    }
    return train, held_out_clips(data, *SPEAKERS)


def parser_of_trained(description: str | None) -> argparse.ArgumentParser:
    """The arguments of what looks into a trained model: which, and the recordings."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="directory or bundled name")
    parser.add_argument("--data", type=Path, required=True, help="folder with ljspeech/ and kathleen/")
    return parser


@torch.no_grad()
def nats_of(model: MelFlow, mel: MelSpectrogram, paths: list[Path]) -> dict[str, float]:
    """Nats per sample by corpus, on held-out clips; noise as in `validate`."""
    found: dict[str, list[float]] = {}
    generator = torch.Generator().manual_seed(0)
    for path in paths:
        audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        audio = audio[:, : audio.shape[1] // model.n_group * model.n_group]
        noisy = dequantize(audio, generator).to(next(model.parameters()).device)
        nats = nats_per_sample(*model(noisy, mel(audio.to(noisy.device)))).item()
        found.setdefault(path.parts[-3], []).append(nats)
    return {f"{corpus}/nats": round(float(np.mean(values)), 4) for corpus, values in found.items()}


@torch.no_grad()
def validate(model: MelFlow, mel: MelSpectrogram, paths: list[Path]) -> dict[str, float]:
    """Nats per sample, and log-mel L1 and PESQ of the resynthesis, by corpus, on held-out clips."""
    from pesq import pesq
    from torchaudio.functional import resample

    found: dict[str, list[tuple[float, float, float]]] = {}
    generator = torch.Generator().manual_seed(0)
    for path in paths:
        audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        audio = audio[:, : audio.shape[1] // model.n_group * model.n_group]
        target = mel(audio)
        nats = nats_per_sample(*model(dequantize(audio, generator), target)).item()
        latent = model.config.sigma * torch.randn(audio.shape, generator=generator)
        synthesis = model.inverse(latent, target).clamp(-1, 1)
        distance = (mel(synthesis) - target).abs().mean().item()
        pair = [resample(x[0], model.mel_config.sample_rate, 16000).numpy() for x in (audio, synthesis)]
        found.setdefault(path.parts[-3], []).append((nats, distance, pesq(16000, *pair, "wb")))
    return {
        f"{corpus}/{name}": round(float(np.mean(column)), 4)
        for corpus, rows in found.items()
        for name, column in zip(("nats", "log_mel_l1", "pesq"), zip(*rows))
    }
