"""Resynthesise clips with latents of several deviations: does sigma matter, and are training clips any easier?

    python scripts/research/sigma.py waveflow/pretrained/lapglow --data ../speech

One line a set of clips, with its bits per sample, and one for each sigma: log-mel L1, mean log-mel difference (level),
the same of bins above a log-mel of -1 (loud), PESQ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import waveflow
from research.clips import find_clips, held_out_clips, parser_of_trained
from waveflow.audio import io
from waveflow.metrics import pesq

LOUD = -1.0


def main() -> None:
    parser = parser_of_trained(__doc__)
    parser.add_argument("--clips", type=int, default=5, help="of each set")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.5, 0.8, 1.0])
    args = parser.parse_args()
    vocoder = waveflow.load(args.checkpoint, device="cpu")
    train, _ = find_clips(args.data)
    sets = {"training": train["ljspeech"], "held out": held_out_clips(args.data, "ljspeech")}
    for name, paths in sets.items():
        clips = [
            io.read(path, sample_rate=vocoder.sample_rate)[0] for path in paths[:: max(1, len(paths) // args.clips)]
        ]
        bits = torch.tensor([float(vocoder.bits_per_sample(clip)) for clip in clips[: args.clips]]).mean().item()
        print(f"{name}: {bits:.4f} bits per sample", flush=True)
        for sigma in args.sigmas:
            found = []
            for clip in clips[: args.clips]:
                mel = vocoder.mel(clip)
                synthesis = vocoder(mel, sigma=sigma, seed=0)[: len(clip)]
                apart = vocoder.mel(synthesis) - mel
                score = pesq(clip, synthesis, vocoder.sample_rate)
                loud = apart[mel > LOUD].mean().item()
                found.append([apart.abs().mean().item(), apart.mean().item(), loud, float(score)])
            distance, level, loud, score = torch.tensor(found).mean(0).tolist()
            told = f"log-mel L1 {distance:.4f}, level {level:+.4f}, loud {loud:+.4f}, PESQ {score:.3f}"
            print(f"{name}, sigma {sigma}: {told}", flush=True)


if __name__ == "__main__":
    main()
