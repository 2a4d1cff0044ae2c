"""How likely a model finds its own speech, once that is 16-bit audio, beside the recordings whose mel it was given.

    python scripts/research/own.py waveflow/pretrained/lapglow --data ../speech

Where the density around a synthesis is sharper than a step of 16 bits, a synthesis is a point that the model draws and
finds impossible as soon as it is rounded. One line for the mean of each figure over held-out LJSpeech clips.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import waveflow
from research.clips import held_out_clips, parser_of_trained
from waveflow.audio import io
from waveflow.losses import QUANTIZATION

FIGURES = {
    "recording": "bits per sample of the recording",
    "synthesis": "of the synthesis, under its own mel",
    "given": "of the synthesis, under the mel that it was made of",
    "moved": "how far one step of uniform noise moves the synthesis's latent, root mean square",
    "moved_recording": "the same of the recording's",
}


@torch.no_grad()
def figures(vocoder: waveflow.Vocoder, audio: Tensor, generator: torch.Generator) -> dict[str, float]:
    """The figures of one recording `(T,)`."""
    hop = vocoder.config.mel.hop_length
    audio = audio[: len(audio) // hop * hop]
    mel = vocoder.mel(audio)
    synthesis = vocoder(mel, seed=0)[: len(audio)]
    noise = QUANTIZATION * (torch.rand(len(audio), generator=generator) - 0.5)
    return {
        "recording": float(vocoder.bits_per_sample(audio)),
        "synthesis": float(vocoder.bits_per_sample(synthesis)),
        "given": float(vocoder.bits_per_sample(synthesis, mel)),
        **{
            name: (vocoder.encode(x + noise, mel) - vocoder.encode(x, mel)).square().mean().sqrt().item()
            for name, x in (("moved", synthesis), ("moved_recording", audio))
        },
    }


def main() -> None:
    args = parser_of_trained(__doc__).parse_args()
    vocoder = waveflow.load(args.checkpoint, device="cpu")
    generator = torch.Generator().manual_seed(0)
    paths = held_out_clips(args.data, "ljspeech")
    rows = [figures(vocoder, io.read(path, sample_rate=vocoder.sample_rate)[0], generator) for path in paths]
    for name, told in FIGURES.items():
        print(f"{told}: {torch.tensor([row[name] for row in rows]).mean():.4g}")


if __name__ == "__main__":
    main()
