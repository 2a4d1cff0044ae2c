"""Reading sound files: any format, rate and channel count to float tensors.

libsndfile loads with the first file: what needs no files runs without it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from waveflow.audio.resampling import resample, resample_pieces

if TYPE_CHECKING:
    import soundfile

File = str | os.PathLike[str] | IO[bytes]

_PIECE = 1 << 18


class AudioError(ValueError):
    """A sound file that cannot be read, or audio that cannot be written; the message names the file."""


class EmptyAudioError(AudioError):
    """A sound file without bytes or without samples."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says: Hz, samples in each channel, channels, libsndfile's subtype."""

    sample_rate: int
    n_samples: int
    n_channels: int
    subtype: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.n_samples / self.sample_rate


def info(source: File) -> AudioInfo:
    """Read the header of a sound file.

    Raises:
        AudioError: Missing, empty (`EmptyAudioError`), or no sound file.
    """
    with _opened(source) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.subtype)


def read(source: File, sample_rate: int | None = None, mono: bool = True) -> tuple[Tensor, int]:
    """Read a whole sound file.

    Args:
        source: Path, or binary file object such as `sys.stdin.buffer`: wav, flac, ogg, mp3 and what else
            libsndfile reads, integer or float, any number of channels.
        sample_rate: Resample to this rate, Hz; None keeps the file's.
        mono: Average the channels.

    Returns:
        float32 audio, full scale ±1, shape `(T,)`, or `(channels, T)` where `mono` is false; its rate in Hz.

    Raises:
        AudioError: Missing, empty or without samples (`EmptyAudioError`), no sound file, damaged, or with NaN samples.
    """
    with _opened(source) as file:
        audio = torch.cat(list(_pieces(file, mono, name_of(source))), dim=-1)
        rate = file.samplerate
    if sample_rate is None:
        return audio, rate
    return resample(audio, rate, sample_rate), sample_rate


def read_blocks(source: File, block: int, sample_rate: int | None = None, mono: bool = True) -> Iterator[Tensor]:
    """Read a sound file of any length in bounded memory.

    The blocks, joined, are what `read` returns (resampled: to float32 rounding).

    Args:
        source: As in `read`.
        block: Samples a block, at the rate read; the last may be shorter.
        sample_rate: Resample to this rate, Hz; None keeps the file's.
        mono: Average the channels.

    Yields:
        float32 audio of shape `(block,)` or `(channels, block)`.

    Raises:
        AudioError: As in `read`.
    """
    if block < 1:
        raise ValueError(f"block is {block}, expected at least one sample")
    with _opened(source) as file:
        pieces = _pieces(file, mono, name_of(source))
        if sample_rate is not None and sample_rate != file.samplerate:
            pieces = resample_pieces(pieces, file.samplerate, sample_rate)
        held: list[Tensor] = []
        size = 0
        for piece in pieces:
            held.append(piece)
            size += piece.shape[-1]
            if size < block:
                continue
            *blocks, rest = torch.cat(held, dim=-1).tensor_split(tuple(range(block, size + 1, block)), dim=-1)
            yield from blocks
            held, size = [rest], rest.shape[-1]
        if size:
            yield torch.cat(held, dim=-1)


def _pieces(file: soundfile.SoundFile, mono: bool, name: str) -> Iterator[Tensor]:
    import soundfile

    found = False
    while True:
        try:
            data = file.read(_PIECE, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name} is damaged: {error}; restore it or leave it out") from error
        if not len(data):
            break
        found = True
        bad = int((~np.isfinite(data)).sum())
        if bad:
            raise AudioError(f"{name} has {bad} NaN or infinite samples; write it anew")
        yield torch.from_numpy(data.mean(axis=1) if mono else np.ascontiguousarray(data.T))
    if not found:
        raise EmptyAudioError(f"{name} has the header of a sound file but no samples; leave it out")


@contextmanager
def _opened(source: File) -> Iterator[soundfile.SoundFile]:
    import soundfile

    name = name_of(source)
    handle: Any
    if isinstance(source, (str, os.PathLike)):
        handle = os.fspath(source)
        try:
            with open(handle, "rb") as file:
                head = file.read(512)
        except OSError as error:
            raise AudioError(f"{name} cannot be opened: {error.strerror}") from error
    else:
        handle = io.BytesIO(source.read())
        head = handle.getbuffer()[:512].tobytes()
    if not head:
        raise EmptyAudioError(f"{name} is empty (0 bytes)")
    try:
        file = soundfile.SoundFile(handle)
    except (soundfile.LibsndfileError, TypeError) as error:
        found = "it holds text" if _is_text(head) else "unknown format or damaged header"
        raise AudioError(f"{name} is no sound file: {found}; expected wav, flac, ogg or mp3") from error
    with file:
        yield file


def _is_text(head: bytes) -> bool:
    try:
        return all(c.isprintable() or c.isspace() for c in head[:500].decode("utf-8", "strict"))
    except UnicodeDecodeError:
        return False


def name_of(file: File) -> str:
    """The path of a file, or what a file object calls itself."""
    return os.fspath(file) if isinstance(file, (str, os.PathLike)) else str(getattr(file, "name", "<stream>"))
