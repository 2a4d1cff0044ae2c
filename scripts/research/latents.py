"""What structure is left in the latents of held-out recordings, and how far the inverse carries a small error.

    python scripts/research/latents.py waveflow/pretrained/lapglow --data ../speech

What an elementwise map or another prior could still gain is the negentropy of the latents; what another coupling could
gain shows where their sizes go with those of their neighbours. A frame whose error grows is one that bfloat16 does not
reproduce, so the last line says how far bfloat16 is from float32 in every clip.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import waveflow
from research.clips import SPEAKERS, held_out_clips, parser_of_trained
from waveflow.audio import io
from waveflow.decibels import signal_to_error
from waveflow.losses import dequantize

ERROR = 1e-3


def structure(frames: Tensor) -> dict[str, float]:
    """How far latents `(F, bands)` are from independent standard normal numbers.

    `negentropy` is in nats a number, over a histogram of all of them; the last two are correlations of squares with
    those one frame later and one band higher.
    """
    z = frames.double().flatten()
    density, edges = torch.histogram(z, 400, range=(-8.0, 8.0), density=True)
    centre, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    seen = density > 0
    normal = -0.5 * centre[seen] ** 2 - 0.5 * math.log(2 * math.pi)
    squares = frames.double() ** 2
    squares = (squares - squares.mean(0)) / squares.std(0)
    return {
        "deviation": z.std().item(),
        "excess kurtosis": ((z - z.mean()) ** 4).mean().item() / z.var().item() ** 2 - 3,
        "negentropy": (width * (density[seen] * (density[seen].log() - normal)).sum()).item(),
        "next frame": (squares[1:] * squares[:-1]).mean().item(),
        "next band": (squares[:, 1:] * squares[:, :-1]).mean().item(),
    }


def main() -> None:
    args = parser_of_trained(__doc__).parse_args()
    vocoder = waveflow.load(args.checkpoint, device="cpu")
    halved = waveflow.load(args.checkpoint, device="cpu", dtype=torch.bfloat16)
    hop, generator = vocoder.config.mel.hop_length, torch.Generator().manual_seed(0)
    latents, growth, decibels = [], [], []
    for path in held_out_clips(args.data, *SPEAKERS):
        audio = io.read(path, sample_rate=vocoder.sample_rate)[0]
        audio = audio[: len(audio) // hop * hop]
        mel = vocoder.mel(audio)
        latents.append(vocoder.encode(dequantize(audio, generator), mel).view(-1, hop))
        drawn = vocoder.config.sigma * torch.randn(len(audio), generator=generator)
        moved = drawn + ERROR * torch.randn(len(audio), generator=generator)
        audio = vocoder.decode(drawn, mel)
        level = audio.square().mean().sqrt()
        apart = vocoder.decode(moved, mel) - audio
        growth.append(apart.view(-1, hop).square().mean(1).sqrt() / level)
        decibels.append(signal_to_error(halved.decode(drawn, mel), audio).item())
    print(", ".join(f"{name} {value:.4f}" for name, value in structure(torch.cat(latents)).items()))
    grown = torch.cat(growth) / ERROR
    parts = ", ".join(f"{q:.2%} {torch.quantile(grown, q).item():.3g}" for q in (0.5, 0.99, 0.999))
    most = grown.max().item()
    print(f"error of a frame over the clip's level, as a multiple of the latent's: {parts}, most {most:.3g}")
    print("bfloat16 to float32, dB: " + ", ".join(f"{value:.0f}" for value in sorted(decibels)))


if __name__ == "__main__":
    main()
