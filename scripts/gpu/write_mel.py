"""Write benchmarks/speech_mel.safetensors: the mels of the LJSpeech clips under tests/data, for machines without
sound libraries.

    python scripts/gpu/write_mel.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from waveflow import MelSpectrogram
from waveflow.audio.io import read

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    clips = sorted((ROOT / "tests" / "data" / "ljspeech" / "wavs").glob("*.flac"))
    mels = [MelSpectrogram()(torch.as_tensor(read(clip)[0]).float().flatten()) for clip in clips]
    joined = torch.cat(mels, dim=-1).half().contiguous()
    path = ROOT / "benchmarks" / "speech_mel.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({"mel": joined}, path, {"source": ", ".join(clip.stem for clip in clips), "convention": "nvidia"})
    print(f"{path.name}: {joined.shape[1]} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
