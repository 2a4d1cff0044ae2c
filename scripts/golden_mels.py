"""Mels of a stretch of speech as ESPnet, NeMo and Coqui TTS themselves compute them, for tests/adapters.

    pip install espnet                                  # each in an environment of its own
    pip install "nemo_toolkit[asr]"
    pip install coqui-tts torchcodec
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

# NeMo's examples/tts/conf: fastpitch_align_v1.05.yaml, fastpitch_align_44100.yaml, hifigan.yaml, and more.
_FASTPITCH = {
    "features": 80, "lowfreq": 0, "highfreq": 8000, "n_fft": 1024, "n_window_size": 1024, "window_size": False,
    "n_window_stride": 256, "window_stride": False, "pad_to": 1, "pad_value": 0, "sample_rate": 22050, "window": "hann",
    "normalize": None, "preemph": None, "dither": 0.0, "frame_splicing": 1, "log": True, "log_zero_guard_type": "add",
    "log_zero_guard_value": 1e-5, "mag_power": 1.0,
}  # fmt: skip
_44100 = {"sample_rate": 44100, "highfreq": None, "n_fft": 2048, "n_window_size": 2048, "n_window_stride": 512}
_POWER = {"mag_power": 2.0, "pad_to": 16, "pad_value": -11.52, "log_zero_guard_value": 2**-24, "mel_norm": None}
_SECONDS = {"window_size": 0.04, "n_window_size": None, "window_stride": 0.01, "n_window_stride": None, "n_fft": None}
_EXACT = {"exact_pad": True, "log_zero_guard_type": "clamp", "pad_to": 0, "pad_value": -11.52}
_LN = {"log_func": "np.log", "spec_gain": 1, "signal_norm": False, "mel_fmax": 8000.0}

# What the adapters of `waveflow.adapters` are given, several a package; the stretch of speech is taken for any rate.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "nemo": {
        "fastpitch": _FASTPITCH,
        "fastpitch_44100": {**_FASTPITCH, **_44100},
        "hifigan": {**_FASTPITCH, **_EXACT},
        "power": {**_FASTPITCH, **_POWER},
        "seconds": {**_FASTPITCH, **_SECONDS, "log_zero_guard_value": "eps"},
    },
    "coqui": {
        "default": {},
        "hifigan": _LN,
        "positive": {"symmetric_norm": False, "max_norm": 1.0, "ref_level_db": 0, "stft_pad_mode": "constant"},
        "unclipped": {"clip_norm": False, "log_func": "np.log", "spec_gain": 5.0, "mel_fmin": 50.0},
        "milliseconds": {"hop_length": None, "frame_length_ms": 40, "frame_shift_ms": 10, "mel_fmax": 7600.0},
    },
    "espnet": {"ljspeech": {}, "hop_300": {"sample_rate": 24000, "n_fft": 2048, "win_length": 1200, "hop_length": 300}},
}
# Samples of digital silence after the stretch, where the floor of a logarithm shows.
SILENT = {"nemo": 4096, "coqui": 4096}
PACKAGES = {"espnet": "espnet", "nemo": "nemo_toolkit", "coqui": "coqui-tts"}


def speech(name: str) -> np.ndarray:
    """The stretch that a package is given, float32 `(T,)`, full scale ±1."""
    stretch = soundfile.read(CLIP, start=START, frames=N_SAMPLES, dtype="float32")[0]
    return np.pad(stretch, (0, SILENT.get(name, 0)))


def espnet(audio: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """As ESPnet's `LogMelFbank`, `(n_mels, F)`."""
    from espnet2.tts.feats_extract.log_mel_fbank import LogMelFbank

    names = {"sample_rate": "fs", "f_min": "fmin", "f_max": "fmax"}
    told = {names.get(name, name): value for name, value in {"sample_rate": 22050, **settings}.items()}
    mel, _ = LogMelFbank(**told)(torch.from_numpy(audio)[None], torch.tensor([len(audio)]))
    return mel[0].T.numpy()


def nemo(audio: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """As NeMo's `AudioToMelSpectrogramPreprocessor`, `(n_mels, F)`."""
    from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

    compute = AudioToMelSpectrogramPreprocessor(**settings).eval()
    mel, _ = compute(input_signal=torch.from_numpy(audio)[None], length=torch.tensor([len(audio)]))
    return mel[0].numpy()


def coqui(audio: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """As Coqui's `AudioProcessor`, `(n_mels, F)`."""
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.utils.audio import AudioProcessor

    return AudioProcessor(BaseAudioConfig(**settings)).melspectrogram(audio)


COMPUTE: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "espnet": espnet,
    "nemo": nemo,
    "coqui": coqui,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, default=TESTS / "adapters" / "goldens", help="folder to write")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, compute in COMPUTE.items():
        try:
            mels = {kind: compute(speech(name), settings) for kind, settings in SETTINGS[name].items()}
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
