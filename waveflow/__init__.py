"""Mel spectrograms to speech with normalizing flows, and speech to exact likelihoods."""

from waveflow._version import __version__

__all__ = ["__version__"]
