"""Mels from a pipe, as soon as their bytes are there: raw frames, NumPy files, or recordings in WAV."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import IO

import numpy as np
import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.audio.resampling import resample_pieces

_PIECE = 1 << 15
_UNKNOWN = 0xFFFFFFFF  # a size in a header, of what has no end yet
_FLOATS: dict[int, np.dtype[np.floating]] = {4: np.dtype("<f4"), 8: np.dtype("<f8")}
_WHOLE = "; vocode it without --stream, or write the mel with numpy.save"
_DECODED = ", expected WAV or mel frames; decode it first"
# Beginnings of what cannot be told before it is complete, or is not read here; no mel has such numbers.
_REFUSED = {
    b"PK\x03\x04": f"a zip archive was given, as .npz and .pt are{_WHOLE}",
    b"\x80\x02\x8a\n": f"a .pt file of the old kind was given{_WHOLE}",
    b"fLaC": f"a stream of compressed audio was given{_DECODED}",
    b"OggS": f"a stream of compressed audio was given{_DECODED}",
    b"ID3": f"a stream of compressed audio was given{_DECODED}",
    b"RF64": f"a recording in RF64 was given{_DECODED}",
    b"riff": f"a recording in W64 was given{_DECODED}",
    b"FORM": f"a recording in AIFF was given{_DECODED}",
    b"caff": f"a recording in CAF was given{_DECODED}",
}


class MelInput:
    """The mel in a binary file or pipe, piece by piece.

    What it holds is told from its first bytes. `RIFF`: a recording, PCM of 16, 24 or 32 bits or floats, of any rate and
    channel count; its mel is computed. `NUMPY`: a float32 array `(F, n_mels)`, or `(n_mels, F)`, which must be
    complete before its first frame is known unless it is in Fortran order. Anything else: raw little-endian float32,
    `n_mels` numbers a frame. Archives, safetensors and other audio are refused.

    Args:
        file: Where to read.
        transform: The mel of the vocoder; its config tells what is expected.

    Attributes:
        n_samples: Of a recording, once it has ended; None for mels.

    Raises:
        ValueError: When iterated: an unknown kind, another shape or type, or an end in the middle of a frame.
    """

    def __init__(self, file: IO[bytes], transform: MelSpectrogram) -> None:
        self._file, self._transform = file, transform
        self.n_samples: int | None = None

    def __iter__(self) -> Iterator[Tensor]:
        head = self._exactly(6)
        if head[:4] == b"RIFF":
            return self._mel_of(self._recording(self._exactly(6)))
        if head == b"\x93NUMPY":
            return self._array()
        for beginning, reason in _REFUSED.items():
            if head.startswith(beginning):
                raise ValueError(reason)
        if head[:4] != bytes(4) and head[4:] == bytes(2):
            # The length of a header, in eight bytes, and the header: JSON.
            head += self._exactly(3)
            if head[6:] == b"\0\0{":
                raise ValueError(f"a .safetensors file was given{_WHOLE}")
        return self._frames(head, np.dtype("<f4"))

    def _exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n and (more := self._file.read(n - len(data))):
            data += more
        return data

    def _some(self, limit: int = _PIECE) -> bytes:
        """What is there by now, at least a byte; nothing at the end."""
        read = getattr(self._file, "read1", self._file.read)
        return read(min(limit, _PIECE))

    def _frames(self, held: bytes, dtype: np.dtype) -> Iterator[Tensor]:
        n_mels = self._transform.config.n_mels
        size = n_mels * dtype.itemsize
        while True:
            whole = len(held) // size * size
            if whole:
                frames = np.frombuffer(held[:whole], dtype).reshape(-1, n_mels).astype(np.float32)
                yield torch.from_numpy(frames).T
            held = held[whole:]
            more = self._some()
            if not more:
                break
            held += more
        if held:
            raise ValueError(
                f"the mel ends in the middle of a frame, {len(held)} of {size} bytes; expected {n_mels} numbers a frame"
            )

    def _array(self) -> Iterator[Tensor]:
        n_mels = self._transform.config.n_mels
        version = self._exactly(2)
        read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        if len(version) < 2 or version[0] not in read_header:
            raise ValueError("the NumPy file has an unknown version, expected 1 or 2; write it with numpy.save")
        shape, fortran, dtype = read_header[version[0]](self._file)
        shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        if dtype not in _FLOATS.values() or len(shape) != 2 or n_mels not in shape:
            raise ValueError(
                f"the NumPy file holds {dtype} of shape {shape}, expected little-endian floats (F, {n_mels}) "
                f"or ({n_mels}, F)"
            )
        if (shape[0] == n_mels) == fortran:
            yield from self._frames(b"", dtype)
            return
        values = np.frombuffer(self._exactly(math.prod(shape) * dtype.itemsize), dtype)
        if len(values) < math.prod(shape):
            raise ValueError(f"the NumPy file ends after {len(values)} of {math.prod(shape)} numbers; write it anew")
        array = values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
        mel = torch.from_numpy(array.astype(np.float32))
        yield mel if shape[0] == n_mels else mel.T

    def _recording(self, head: bytes) -> Iterator[Tensor]:
        """Mono audio at the vocoder's rate."""
        if head[2:] != b"WAVE":
            raise ValueError("a RIFF stream that is no WAVE was given, expected a recording or mel frames")
        code, n_channels, rate, bits = self._format()
        if code not in (1, 3) or bits not in ((16, 24, 32) if code == 1 else (32, 64)) or not n_channels:
            raise ValueError(
                f"a WAV of format {code} with {bits} bits was given, expected PCM of 16, 24 or 32 bits or floats"
            )
        left = struct.unpack("<I", self._exactly(4))[0]
        left = left if 0 < left < 0xFFFFFF00 else None  # a writer that could not know the size
        pieces = self._samples(code, n_channels, bits // 8, left)
        target = self._transform.config.sample_rate
        return pieces if rate == target else resample_pieces(pieces, rate, target)

    def _format(self) -> tuple[int, int, int, int]:
        while True:
            name, size = self._exactly(4), self._exactly(4)
            if len(size) < 4:
                raise ValueError("the WAV ends in its header; write it anew")
            if name == b"data":
                raise ValueError("the WAV has no format chunk before its samples; write it anew")
            content = self._exactly(struct.unpack("<I", size)[0] + 1 & ~1)
            if name == b"fmt " and len(content) >= 16:
                code, n_channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
                code = struct.unpack("<H", content[24:26])[0] if code == 0xFFFE and len(content) >= 26 else code
                break
        while (name := self._exactly(4)) != b"data":
            size = self._exactly(4)
            if len(size) < 4:
                raise ValueError("the WAV ends before its samples; write it anew")
            self._exactly(struct.unpack("<I", size)[0] + 1 & ~1)
        return code, n_channels, rate, bits

    def _samples(self, code: int, n_channels: int, width: int, left: int | None) -> Iterator[Tensor]:
        held, step = b"", n_channels * width
        while left is None or left > 0:
            more = self._some(_PIECE if left is None else left)
            if not more:
                break
            left = None if left is None else left - len(more)
            held += more
            whole = len(held) // step * step
            if whole:
                yield torch.from_numpy(_decoded(held[:whole], code, width).reshape(-1, n_channels).mean(1))
            held = held[whole:]

    def _mel_of(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        config = self._transform.config
        left, hop = config.margins[0], config.hop_length
        n_before = -(-left // hop)
        held, n_done, total = torch.zeros(0), 0, 0
        for piece in pieces:
            held, total = torch.cat([held, piece]), total + len(piece)
            n_certain = (len(held) + left - config.n_fft) // hop + 1
            if n_certain > n_done and len(held) > sum(config.margins):
                yield self._transform(held)[:, n_done:n_certain]
                drop = max(0, n_certain - n_before)
                held, n_done = held[drop * hop :], n_certain - drop
        self.n_samples = total
        if len(held):
            yield self._transform(held)[:, n_done:]


def _decoded(data: bytes, code: int, width: int) -> np.ndarray:
    """Samples as float32, full scale ±1."""
    if code == 3:
        return np.frombuffer(data, _FLOATS[width]).astype(np.float32)
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}") / 2 ** (8 * width - 1)).astype(np.float32)


def wav_header(sample_rate: int, n_samples: int | None = None) -> bytes:
    """The 44 bytes before the samples of a mono 16-bit WAV; its sizes are the largest where the length is not known."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    n_bytes = _UNKNOWN if n_samples is None else min(2 * n_samples, _UNKNOWN - 36)
    whole = min(36 + n_bytes, _UNKNOWN)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)
