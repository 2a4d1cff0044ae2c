"""What a client gets: sound files, or bare samples."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile
from torch import Tensor

from waveflow.audio import io as audio_io
from waveflow.audio.quantizing import pcm

Format = Literal["wav", "flac", "opus", "pcm", "f32"]
MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "opus": "audio/ogg; codecs=opus", "pcm": "audio/pcm"}
MEDIA_TYPES["f32"] = "application/octet-stream"
BARE = ("pcm", "f32")
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


def rate_of(sample_rate: int, file_format: Format) -> int:
    """Hz of the audio that goes out: Opus knows five rates, and gets the next higher."""
    if file_format != "opus":
        return sample_rate
    return next((rate for rate in OPUS_RATES if rate >= sample_rate), OPUS_RATES[-1])


def encode(audio: Tensor, sample_rate: int, file_format: Format) -> bytes:
    """Encode audio `(T,)`, full scale ±1.

    Args:
        audio: Float32, at `sample_rate`.
        sample_rate: Hz.
        file_format: `wav` or `flac` of 16 bits, `opus` (in Ogg), or bare little-endian samples: `pcm` of 16 bits,
            `f32` as the model gives them.

    Raises:
        ValueError: NaN or infinite samples.
    """
    if not audio.isfinite().all():
        raise ValueError("the model makes NaN or infinite samples of this mel; check the mel, or lower sigma")
    if file_format == "f32":
        return np.asarray(audio, "<f4").tobytes()
    if file_format == "opus":
        return _opus(audio, sample_rate)
    file = io.BytesIO()
    if file_format in ("wav", "flac"):
        audio_io.write(file, audio, sample_rate, file_format=file_format)
        return file.getvalue()
    return pcm(audio)


def _opus(audio: Tensor, sample_rate: int) -> bytes:
    rate, file = rate_of(sample_rate, "opus"), io.BytesIO()
    samples = audio_io.resample(audio, sample_rate, rate).clamp(-1, 1)
    with soundfile.SoundFile(file, "w", rate, 1, "OPUS", format="OGG") as sink:
        # libsndfile's Opus encoder has been seen to overflow its stack on one long block.
        for block in samples.split(rate):
            sink.write(block.numpy())
    return file.getvalue()
