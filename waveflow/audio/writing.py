"""Writing sound files: 16 bit, 24 bit or float, without wrap-around, whole or not at all."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from waveflow.audio.quantizing import quantize
from waveflow.audio.reading import AudioError, File, name_of
from waveflow.files import replacing

_BITS = {"PCM_16": 16, "PCM_24": 24}
_SUBTYPES = {"WAV": ("PCM_16", "PCM_24", "FLOAT"), "FLAC": ("PCM_16", "PCM_24")}


def write(
    target: File,
    audio: Tensor | np.ndarray,
    sample_rate: int,
    subtype: str = "PCM_16",
    file_format: str | None = None,
) -> int:
    """Write a sound file, whole or not at all.

    Integers are `round(32768 * audio)` (24 bit: `2**23`) limited to their range, so full scale and beyond
    clip, and a file that was read comes back bit for bit.

    Args:
        target: Path, `.wav` or `.flac`, replaced if it exists; or a binary file object.
        audio: Full scale ±1, shape `(T,)` or `(channels, T)`, floating point.
        sample_rate: Hz.
        subtype: "PCM_16", "PCM_24" or (wav) "FLOAT".
        file_format: "WAV" or "FLAC"; None goes by the path, and is WAV for a file object.

    Returns:
        The number of samples beyond full scale, which are clipped unless FLOAT.

    Raises:
        AudioError: NaN or infinite samples, no samples, a wrong shape, or a format that is not written.
        OSError: The folder is missing or read-only, or the disk is full; nothing is left behind.
    """
    samples = torch.as_tensor(audio)
    n_channels = samples.shape[0] if samples.ndim == 2 else 1
    with writer(target, sample_rate, subtype, n_channels, file_format) as append:
        return append(samples)


def check_format(target: File, subtype: str, file_format: str | None = None) -> str:
    """The format in which `write` makes a file, WAV or FLAC; arguments are those of `write`.

    Raises:
        AudioError: A format that is not written, or one that has no such subtype.
    """
    suffix = Path(target).suffix[1:] if isinstance(target, (str, os.PathLike)) else "WAV"
    found = (file_format or suffix).upper()
    if subtype not in _SUBTYPES.get(found, ()):
        raise AudioError(f"cannot write {name_of(target)}: {found!r} as {subtype!r}, expected one of {_SUBTYPES}")
    return found


@contextmanager
def writer(
    target: File,
    sample_rate: int,
    subtype: str = "PCM_16",
    n_channels: int = 1,
    file_format: str | None = None,
) -> Iterator[Callable[[Tensor], int]]:
    """Write a sound file block by block; it takes its place when the `with` block ends without an error.

    Yields:
        `append(audio) -> clipped`, for blocks of shape `(T,)` or `(n_channels, T)`. Arguments and errors are
        those of `write`.

    Raises:
        AudioError: The format has no such subtype, or no sample was given until the `with` block ended.
    """
    import soundfile

    name = name_of(target)
    file_format = check_format(target, subtype, file_format)
    written = 0

    def append(audio: Tensor) -> int:
        nonlocal written
        samples = _checked(audio, n_channels, name)
        with sink.raising(name):
            file.write(_quantized(samples.T, subtype))
        written += samples.shape[1]
        return int((samples.abs() > 1).sum())

    with replacing(target) if isinstance(target, (str, os.PathLike)) else _gathering(target) as raw:
        sink = _Sink(raw)
        with sink.raising(name):
            file = soundfile.SoundFile(sink, "w", sample_rate, n_channels, subtype, format=file_format)
        try:
            yield append
        finally:
            with sink.raising(name):
                file.close()
        if not written:
            raise AudioError(f"cannot write {name}: there are no samples")


@contextmanager
def _gathering(target: IO[bytes]) -> Iterator[IO[bytes]]:
    """Bytes in memory, given to `target` whole: a header is written last, and a pipe cannot go back."""
    gathered = io.BytesIO()
    yield gathered
    target.write(gathered.getbuffer())
    target.flush()


class _Sink:
    """A file for libsndfile, which swallows the errors of Python files: this one keeps them."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            return 0

    @contextmanager
    def raising(self, name: str) -> Iterator[None]:
        import soundfile

        try:
            yield
        except (soundfile.LibsndfileError, AssertionError) as error:
            raise self.error or AudioError(f"cannot write {name}: {error}") from error
        if self.error:
            raise self.error


def _checked(audio: Any, n_channels: int, name: str) -> Tensor:
    samples = torch.as_tensor(audio).detach().cpu()
    if not samples.is_floating_point():
        raise AudioError(f"cannot write {name}: audio is {samples.dtype}, expected floating point, full scale ±1")
    if samples.ndim not in (1, 2) or torch.atleast_2d(samples).shape[0] != n_channels:
        expected = "(T,)" if n_channels == 1 else f"({n_channels}, T)"
        raise AudioError(f"cannot write {name}: audio has shape {tuple(samples.shape)}, expected {expected}")
    bad = int((~samples.isfinite()).sum())
    if bad:
        raise AudioError(f"cannot write {name}: {bad} of {samples.numel()} samples are NaN or infinite")
    return torch.atleast_2d(samples)


def _quantized(samples: Tensor, subtype: str) -> np.ndarray:
    if subtype == "FLOAT":
        return samples.float().numpy()
    values = quantize(samples, _BITS[subtype])
    # libsndfile takes the upper 24 bits
    return (values << 8 if subtype == "PCM_24" else values).numpy()
