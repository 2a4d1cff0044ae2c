"""Map real speech to latent and back through a full-size model, in both precisions.

    python scripts/check_round_trip.py waveglow-256 lapglow-base tests/data/*/wavs/*.flac --seconds 10

Fresh couplings are the identity, so the weights are perturbed; the scale keeps them well-conditioned.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from waveflow.audio import io
from waveflow.audio.mel import MelSpectrogram
from waveflow.models import MelFlow, build


def perturbed(name: str, scale: float = 0.02) -> MelFlow:
    """A model of the registry whose couplings do something: log-scales of about 0.1 and shifts to match."""
    torch.manual_seed(0)
    model = build(name)
    for module in model.modules():
        if getattr(module, "end", None) is not None:
            torch.nn.init.normal_(module.end.weight, std=scale / module.end.weight.shape[1] ** 0.5)
    return model.eval()


@torch.no_grad()
def round_trip(model: MelFlow, audio: Tensor) -> tuple[float, float]:
    """Largest difference of audio `(T,)` from its round trip, and the largest change that the flow made to it."""
    audio = audio[: len(audio) // model.mel_config.hop_length * model.mel_config.hop_length][None]
    mel = MelSpectrogram(model.mel_config).to(audio.dtype)(audio)
    z, _ = model(audio, mel)
    return (model.inverse(z, mel) - audio).abs().max().item(), (z - audio).abs().max().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="models of the registry, and recordings")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    args = parser.parse_args()
    clips = [name for name in args.inputs if Path(name).is_file()]
    for name in (name for name in args.inputs if name not in clips):
        model = perturbed(name)
        rate = model.mel_config.sample_rate
        audio = torch.cat([io.read(clip, sample_rate=rate)[0] for clip in clips])[: round(args.seconds * rate)]
        for dtype in args.dtypes:
            start = time.perf_counter()
            error, change = round_trip(model.to(getattr(torch, dtype)), audio.to(getattr(torch, dtype)))
            print(
                f"{name}  {dtype}  {len(audio) / rate:.1f} s of speech  largest error {error:.1e}  "
                f"(z differs from audio by up to {change:.1f})  {time.perf_counter() - start:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
