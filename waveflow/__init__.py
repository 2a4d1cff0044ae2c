"""Mel spectrograms to speech with normalizing flows, and speech to exact likelihoods."""

import importlib
from typing import TYPE_CHECKING, Any

from waveflow._version import __version__

if TYPE_CHECKING:
    from waveflow import bijections, models
    from waveflow.audio.mel import MelConfig, MelSpectrogram
    from waveflow.distributions import Flow
    from waveflow.inference import Vocoder, load
    from waveflow.inference.fuse import fuse

__all__ = ["Flow", "MelConfig", "MelSpectrogram", "Vocoder", "__version__", "bijections", "fuse", "load", "models"]

# Imported when first asked for: PyTorch takes seconds, and `waveflow --help` does without it.
_HOMES = {
    "Flow": "distributions",
    "MelConfig": "audio.mel",
    "MelSpectrogram": "audio.mel",
    "Vocoder": "inference",
    "fuse": "inference",
    "load": "inference",
}
_SUBMODULES = {
    *("adapters", "audio", "bijections", "checkpoints", "data", "distributions", "inference", "losses", "metrics"),
    *("models", "nn", "ops", "training"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"waveflow.{_HOMES[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"waveflow.{name}")
    else:
        raise AttributeError(f"module 'waveflow' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
