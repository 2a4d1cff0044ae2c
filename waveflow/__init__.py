"""Mel spectrograms to speech with normalizing flows, and speech to exact likelihoods."""

from waveflow import bijections, models
from waveflow._version import __version__
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.distributions import Flow
from waveflow.inference import Vocoder, fuse, load

__all__ = ["Flow", "MelConfig", "MelSpectrogram", "Vocoder", "__version__", "bijections", "fuse", "load", "models"]
