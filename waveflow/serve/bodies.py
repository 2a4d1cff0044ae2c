"""What a client sends: a mel or a recording, told apart by its first bytes, and nothing in it executed or believed."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from waveflow.audio import io as audio_io
from waveflow.audio.mel import MelConfig
from waveflow.audio.mel_doctor import check_and_diagnose

MAX_CHANNELS = 8
SAMPLE_RATES = (4000, 192000)
_RECORDINGS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"caff")
EXPECTED = "expected a mel (.npy, .safetensors or JSON) or a recording (wav, flac, ogg, mp3)"


class TooLarge(ValueError):
    """More than the server takes."""


def read_body(body: bytes, config: MelConfig, max_seconds: float) -> Tensor:
    """Read a body.

    Args:
        body: A mel as `.npy` (version 1 or 2), `.safetensors` (one tensor, or one called `mel`) or JSON (`{"mel": ...}`
            or the bare list of bands); or a recording in a format of libsndfile.
        config: The model's mel contract.
        max_seconds: The longest audio to take.

    Returns:
        A checked mel, float32 `(n_mels, F)`; or audio at the contract's rate, float32 `(T,)`.

    Raises:
        TooLarge: Longer than `max_seconds`.
        ValueError: Anything else that is wrong with it.
    """
    if not body:
        raise ValueError(f"the body is empty, {EXPECTED}")
    if body.startswith(b"\x1f\x8b"):
        raise ValueError(f"the body is packed by gzip; send it as it is: {EXPECTED}")
    if body.startswith(_RECORDINGS) or (body[0] == 0xFF and body[1:2] >= b"\xe0"):
        return _recording(body, config.sample_rate, max_seconds)
    if body.startswith(b"\x93NUMPY"):
        mel = _npy(body)
    elif body.lstrip(b" \t\r\n")[:1] in (b"{", b"["):
        mel = _json(body)
    elif body[8:9] == b"{":
        mel = _safetensors(body)
    else:
        raise ValueError(f"the body is neither a mel nor a recording: {EXPECTED}")
    mel = mel[0] if mel.dim() == 3 and mel.shape[0] == 1 else mel
    if mel.dim() != 2:
        raise ValueError(f"mel has shape {tuple(mel.shape)}, expected (n_mels, F); send items one by one")
    if config.samples(mel.shape[-1]) > max_seconds * config.sample_rate:
        raise TooLarge(f"mel has {mel.shape[-1]} frames, the server takes {max_seconds:g} s; send it in parts")
    check_and_diagnose(mel, config)
    return mel.float()


def _npy(body: bytes) -> Tensor:
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran_order, dtype = readers[version](file)
    # The header is a Python literal: its parser has many ways to fail.
    except Exception as error:
        raise ValueError("the .npy header is damaged, or of a version above 2.0; write it with numpy.save") from error
    data = memoryview(body)[file.tell() :]
    # The header is not believed: numpy would allocate what it says before it looks whether the data is there.
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise ValueError(f"the .npy holds {dtype}, expected float16, float32 or float64")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"the .npy header tells of shape {shape} and {dtype}, but {len(data)} bytes follow")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return torch.from_numpy(values.astype(np.float32))


def _safetensors(body: bytes) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(body)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"the .safetensors is damaged: {str(error).splitlines()[0]}") from error
    if "mel" not in tensors and len(tensors) != 1:
        raise ValueError(f"the .safetensors holds {len(tensors)} tensors, expected one or one called 'mel'")
    mel = tensors["mel"] if "mel" in tensors else next(iter(tensors.values()))
    if not mel.is_floating_point():
        raise ValueError(f"the .safetensors holds {mel.dtype}, expected a floating-point mel")
    return mel.float()


def _json(body: bytes) -> Tensor:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the JSON is damaged: {error}") from error
    mel = content.get("mel") if isinstance(content, dict) else content
    if not isinstance(mel, list):
        raise ValueError('the JSON holds no mel, expected {"mel": [[...], ...]}, a list of frames for each band')
    if isinstance(content, dict) and (others := sorted({*content} - {"mel"})):
        raise ValueError(f"the JSON holds {others[0]!r} beside the mel; settings stand in the address, as ?seed=1")
    try:
        array = np.asarray(mel)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError("the JSON's bands differ in length or are nested too deeply") from error
    if array.dtype.kind not in "fi":
        raise ValueError("the JSON's mel holds other things than numbers")
    return torch.from_numpy(array.astype(np.float32))


def _recording(body: bytes, sample_rate: int, max_seconds: float) -> Tensor:
    told = audio_io.info(_named(body))
    if told.n_channels > MAX_CHANNELS:
        raise ValueError(f"the recording has {told.n_channels} channels, at most {MAX_CHANNELS} are taken; mix them")
    low, high = SAMPLE_RATES
    if not low <= told.sample_rate <= high:
        raise ValueError(f"the recording has {told.sample_rate} Hz, expected {low} to {high}; resample it")
    # A header may promise less than follows, and a small file may hold days of silence.
    limit = int(max_seconds * sample_rate)
    held, size = [], 0
    for block in _blocks(body, sample_rate):
        held.append(block)
        size += len(block)
        if size > limit:
            raise TooLarge(f"the recording is longer than the {max_seconds:g} s that the server takes; cut it")
    return torch.cat(held)


def _blocks(body: bytes, sample_rate: int) -> Iterator[Tensor]:
    return audio_io.read_blocks(_named(body), sample_rate, sample_rate=sample_rate)


def _named(body: bytes) -> io.BytesIO:
    file = io.BytesIO(body)
    file.name = "the recording"
    return file
