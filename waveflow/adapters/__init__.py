"""Vocoders in the shapes that other packages call them by; each module needs its package only where it is used."""

from waveflow.adapters.mels import coqui, espnet, nemo, speecht5
from waveflow.adapters.torchaudio import TorchaudioVocoder
from waveflow.adapters.transformers import TransformersVocoder

__all__ = ["TorchaudioVocoder", "TransformersVocoder", "coqui", "espnet", "nemo", "speecht5"]
