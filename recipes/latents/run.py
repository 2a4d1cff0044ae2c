"""Encode, interpolate, change the mel under a fixed latent, denoise by likelihood; tables, sounds and a picture."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import launch, markdown, new_figure, save_figure
from experiments import (
    add_noise,
    denoise,
    describe_latent,
    interpolate,
    median_pitch,
    mel_distance,
    nats,
    retell,
    without_noise,
)

import waveflow
from waveflow import Vocoder
from waveflow.audio import io
from waveflow.decibels import signal_to_error

CLIPS = Path(__file__).resolve().parents[2] / "tests" / "data"


@dataclass
class Config:
    """What is done to which recordings.

    Attributes:
        model: A model's folder; the bundled model unless given.
        clip: A recording.
        other: Another speaker's.
        start: Where in both to begin, seconds.
        seconds: How much of both is taken.
        shares: Shares of the way at which the interpolation stops.
        semitones: By how much the mel's pitch is shifted.
        snr_db: Of the noise that is to be removed.
        steps: Of Adam, to remove it.
        seed: Of noise.
        out: Where results are written.
    """

    model: str | None = None
    clip: str = str(CLIPS / "ljspeech" / "wavs" / "LJ001-0008.flac")
    other: str = str(CLIPS / "kathleen" / "wavs" / "arctic_a0004_1592748489.flac")
    start: float = 0.0
    seconds: float = 1.5
    shares: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75, 1.0])
    semitones: list[float] = field(default_factory=lambda: [-4.0, 4.0])
    snr_db: float = 20.0
    steps: int = 30
    seed: int = 0
    out: str = "runs/latents"


def read(path: str, vocoder: Vocoder, config: Config) -> Tensor:
    """A piece of a recording, whole frames, `(T,)`."""
    audio, rate = io.read(path, sample_rate=vocoder.sample_rate)
    hop = vocoder.config.mel.hop_length
    first, n = round(config.start * rate), round(config.seconds * rate) // hop * hop
    if len(audio) < first + n:
        raise SystemExit(
            f"{path} has {len(audio) / rate:.2f} s; lower start={config.start} or seconds={config.seconds}"
        )
    return audio[first : first + n]


def shifted(audio: Tensor, sample_rate: int, semitones: float) -> Tensor:
    """The recording at another pitch and the same speed, by a phase vocoder."""
    import librosa

    return torch.from_numpy(librosa.effects.pitch_shift(audio.numpy(), sr=sample_rate, n_steps=semitones))


def change_mels(vocoder: Vocoder, audio: Tensor, other: Tensor, config: Config) -> tuple[list[dict[str, Any]], dict]:
    """The latent of the clip under its own mel, shifted ones and another speaker's; rows, and the sounds."""
    mel = vocoder.mel(audio)
    z = vocoder.encode(audio, mel)
    noise = vocoder.model.config.sigma * torch.randn(z.shape, generator=torch.Generator().manual_seed(config.seed))
    asked = {"itself": audio}
    asked |= {f"itself {s:+g} semitones": shifted(audio, vocoder.sample_rate, s) for s in config.semitones}
    asked["another speaker"] = other
    rows, sounds = [], {}
    for name, source in asked.items():
        target = vocoder.mel(source)
        told, fresh = (retell(vocoder, latent, target) for latent in (z, noise))
        sounds[name] = told.pop("audio")
        rows.append(
            {
                **{"mel": name, "pitch asked for": median_pitch(source, vocoder.sample_rate)},
                **told,
                "to its own mel": mel_distance(vocoder, sounds[name], mel),
                **{f"{key}, fresh latent": fresh[key] for key in told},
            }
        )
    return rows, sounds


def remove_noise(vocoder: Vocoder, audio: Tensor, config: Config) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """White noise on the clip, and what is left of it, given the clean mel or one estimated; rows, and the sounds."""
    noisy, sigma = add_noise(audio, config.snr_db, config.seed)
    clean_mel = vocoder.mel(audio)
    estimate = without_noise(vocoder, vocoder.mel(noisy), sigma, config.seed + 1)
    sounds = {"noisy": noisy}
    for name, mel in (("clean mel", clean_mel), ("estimated mel", estimate)):
        sounds[f"filtered, {name}"] = denoise(vocoder, noisy, mel, sigma)
        sounds[f"likeliest, {name}"] = denoise(vocoder, noisy, mel, sigma, config.steps)
    rows = [
        {"sound": name, "snr": signal_to_error(sound, audio).item(), "nats": nats(vocoder, sound, clean_mel)}
        for name, sound in sounds.items()
    ]
    return rows, sounds


def cells(rows: list[dict[str, Any]]) -> str:
    """Rows of one kind in Markdown, numbers to three digits."""
    shown = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return markdown([*rows[0]], shown)


def draw(vocoder: Vocoder, sounds: dict[str, Tensor], path: Path) -> Path:
    """The mels of all sounds."""
    figure, axes = new_figure(2, -(-len(sounds) // 2), 2.6 * -(-len(sounds) // 2), 3.6)
    for axis in axes.flat:
        axis.set_axis_off()
    top = vocoder.mel(next(iter(sounds.values()))).max().item()
    for axis, (name, sound) in zip(axes.flat, sounds.items()):
        axis.imshow(vocoder.mel(sound), origin="lower", aspect="auto", cmap="magma", vmin=top - 9, vmax=top)
        axis.set_title(name, fontsize=8)
    return save_figure(figure, path, dpi=80)


def main(config: Config) -> None:
    """Do it all, print the tables, write the sounds, draw the picture."""
    vocoder = waveflow.load(config.model)
    audio, other = (read(path, vocoder, config) for path in (config.clip, config.other))
    mel, out = vocoder.mel(audio), Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    latent = describe_latent(vocoder, audio, mel)
    path = interpolate(vocoder, audio, mel, config.shares, config.seed)
    mels, retold = change_mels(vocoder, audio, other, config)
    noise, denoised = remove_noise(vocoder, audio, config)
    results = {"latent": [latent], "interpolation": path, "mels": mels, "noise": noise}
    text = "\n".join(f"{name}\n\n{cells(rows)}" for name, rows in results.items())
    sounds = {"the recording": audio, **{f"mel of {k}": v for k, v in retold.items()}, **denoised}
    for name, sound in sounds.items():
        io.write(out / f"{name.replace(' ', '-')}.wav", sound.clamp(-1, 1), vocoder.sample_rate)
    (out / "table.md").write_text(text)
    (out / "rows.json").write_text(json.dumps(results, indent=2) + "\n")
    print(text)
    print(draw(vocoder, sounds, out / "latents.png"))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
