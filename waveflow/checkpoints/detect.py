"""Which of the known models a foreign state dict is, told by its keys."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from waveflow.checkpoints.errors import CheckpointError
from waveflow.checkpoints.flowavenet import is_flowavenet, read_flowavenet
from waveflow.checkpoints.l0sg import is_l0sg, read_l0sg
from waveflow.checkpoints.nvidia import read_waveglow
from waveflow.checkpoints.paddle import is_paddle, read_paddle
from waveflow.checkpoints.squeezewave import is_squeezewave, read_squeezewave
from waveflow.checkpoints.weights import Found

_KNOWN: tuple[tuple[Callable[[dict[str, Tensor]], bool], Callable[..., Found]], ...] = (
    (is_squeezewave, read_squeezewave),
    (is_l0sg, read_l0sg),
    (is_flowavenet, read_flowavenet),
    (is_paddle, read_paddle),
)
# What is taken for a flow now and then, by a key that it has.
_OTHERS = {
    "the generator of a HiFi-GAN or BigVGAN": r"\bresblocks\.0\.",
    "the generator of a Parallel WaveGAN": r"\bconv_layers\.0\.conv1x1_aux\.",
    "a Vocos": r"\bbackbone\.convnext\.",
    "a Tacotron 2, which makes mels": r"\bdecoder\.attention_rnn\.",
    "a model of waveflow's own form, which needs no conversion": r"^flow\.steps\.",
}


def understand(tensors: dict[str, Tensor], name: str, options: dict[str, Any]) -> Found:
    """Read a state dict by the converter that knows its keys; WaveGlow's unless another does.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.
        options: Fields of the model's config that no shape tells.

    Raises:
        CheckpointError: It is none of the known models, or unsound.
        ValueError: An option that the model has not, whose value shapes tell, or that is no such number.
    """
    reader = next((reader for known, reader in _KNOWN if known(tensors)), None)
    for other, pattern in _OTHERS.items() if reader is None else ():
        if any(re.search(pattern, key) for key in tensors):
            raise CheckpointError(
                f"{name} is {other}; expected WaveGlow, SqueezeWave, FloWaveNet, or WaveFlow of L0SG or PaddleSpeech"
            )
    reader = reader or read_waveglow
    accepted = {p.name: p.annotation for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY}
    if strange := sorted(options.keys() - accepted.keys()):
        raise ValueError(
            f"{strange[0]} was given for {name}, whose weights leave only {[*accepted] or 'nothing'} open; leave it out"
        )
    for key, value in options.items():
        if accepted[key].startswith("int") and (type(value) is not int or value < 1):
            raise ValueError(f"{key} is {value!r}, expected a whole number of at least 1")
    return reader(tensors, name, **options)
