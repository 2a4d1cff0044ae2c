"""Mels of a stretch of speech as ESPnet itself computes them, for tests/adapters.

    pip install espnet      # in an environment of its own
    python scripts/golden_mels.py

Each package gives one file, with its version, its settings and the mels of all settings.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

TESTS = Path(__file__).resolve().parents[1] / "tests"
CLIP = TESTS / "data" / "ljspeech" / "wavs" / "LJ001-0002.flac"
START, N_SAMPLES = 8000, 6144

# Settings under the names of `waveflow.adapters`' arguments, several a package.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "espnet": {"ljspeech": {}, "hop_300": {"sample_rate": 24000, "n_fft": 2048, "win_length": 1200, "hop_length": 300}},
}
PACKAGES = {"espnet": "espnet"}


def speech() -> np.ndarray:
    """The stretch, float32 `(T,)`, full scale ±1."""
    return soundfile.read(CLIP, start=START, frames=N_SAMPLES, dtype="float32")[0]


def espnet(audio: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """As ESPnet's `LogMelFbank`, `(n_mels, F)`."""
    from espnet2.tts.feats_extract.log_mel_fbank import LogMelFbank

    names = {"sample_rate": "fs", "f_min": "fmin", "f_max": "fmax"}
    told = {names.get(name, name): value for name, value in {"sample_rate": 22050, **settings}.items()}
    mel, _ = LogMelFbank(**told)(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    return mel[0].T.numpy()


COMPUTE: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {"espnet": espnet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, default=TESTS / "adapters" / "goldens", help="folder to write")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    audio = speech()
    for name, compute in COMPUTE.items():
        try:
            mels = {kind: compute(audio, settings) for kind, settings in SETTINGS[name].items()}
        except ImportError as error:
            print(f"{name}: left out, for {error}")
            continue
        version = importlib.metadata.version(PACKAGES[name])
        about = {"package": PACKAGES[name], "version": version, "settings": SETTINGS[name]}
        path = options.output / f"{name}.npz"
        np.savez_compressed(path, about=json.dumps(about), **mels)
        print(f"{path}: {version}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
