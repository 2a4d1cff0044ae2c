"""Vocoders in the shapes that other packages call them by; each module needs its package only where it is used.

The `adapter` of `waveflow.load` is something else: a voice, updates of a model's weights by `waveflow.nn.low_rank`.
"""

from waveflow.adapters.mels import coqui, espnet, speecht5
from waveflow.adapters.torchaudio import TorchaudioVocoder
from waveflow.adapters.transformers import TransformersVocoder
from waveflow.audio.nemo import nemo

__all__ = ["TorchaudioVocoder", "TransformersVocoder", "coqui", "espnet", "nemo", "speecht5"]
