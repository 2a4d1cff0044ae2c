"""NeMo's `.nemo`: a tar archive of a YAML config and a state dict."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, cast

from waveflow.audio.mel import MelConfig
from waveflow.audio.nemo import nemo
from waveflow.checkpoints.errors import CheckpointError, damaged

GZIP_MAGIC = b"\x1f\x8b"
_CONFIG, _WEIGHTS = "model_config.yaml", "model_weights.ckpt"
_MAX_BYTES = {_CONFIG: 1 << 20, _WEIGHTS: 4 << 30}
_MAX_MEMBERS = 1000
_PIECE = 1 << 20


def is_tar(stream: BinaryIO) -> bool:
    """Whether a file is a tar archive, compressed by gzip or not."""
    stream.seek(0)
    head = stream.read(512)
    return head[:2] == GZIP_MAGIC or head[257:262] == b"ustar"


def read_archive(stream: BinaryIO, name: str) -> tuple[dict[str, Any], BinaryIO]:
    """Take the config and the weights out of a `.nemo`, in memory; nothing is unpacked to the disk.

    Returns:
        The config as plain values, and the file of the weights, which `torch.save` wrote.

    Raises:
        CheckpointError: The archive is damaged, points outside itself, or lacks one of the two.
    """
    try:
        contents = _read_members(stream, name)
    except CheckpointError:
        raise
    except (tarfile.TarError, EOFError, OSError, RecursionError, ValueError, zlib.error) as error:
        raise damaged(name, error) from error
    if missing := sorted(_MAX_BYTES.keys() - contents.keys()):
        raise CheckpointError(f"{name} is a tar archive without {missing[0]}; expected what NeMo's save_to writes")
    return _parse(contents[_CONFIG].getvalue(), name), contents[_WEIGHTS]


class _Pieces:
    """A stream for `tarfile`, which reads a name whole, however long it is declared to be."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile) -> None:
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise ValueError(f"it has {size} bytes where at most {_PIECE} belong")
        return self.stream.read(size)


def _read_members(stream: BinaryIO, name: str) -> dict[str, io.BytesIO]:
    stream.seek(0)
    zipped = stream.read(2) == GZIP_MAGIC
    stream.seek(0)
    contents: dict[str, io.BytesIO] = {}
    left = _MAX_BYTES[_WEIGHTS]
    pieces = cast(IO[bytes], _Pieces(gzip.GzipFile(fileobj=stream) if zipped else stream))
    with tarfile.open(fileobj=pieces, mode="r:") as archive:
        for count, member in enumerate(archive):
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                raise CheckpointError(
                    f"{name} has the entry {member.name[:200]!r}, which points outside the archive or is no "
                    "plain file: it may be malicious; nothing was unpacked"
                )
            left -= abs(member.size)
            if count >= _MAX_MEMBERS or left < 0:
                raise CheckpointError(
                    f"{name} has too many or too large entries for a checkpoint; nothing was unpacked"
                )
            key = str(path)
            if key not in _MAX_BYTES:
                continue
            if key in contents or member.size > _MAX_BYTES[key]:
                raise CheckpointError(f"{name} has {key} twice or too large; expected what NeMo's save_to writes")
            # Of a folder with such a name there is nothing to read.
            if file := archive.extractfile(member):
                contents[key] = io.BytesIO()
                shutil.copyfileobj(file, contents[key], _PIECE)
                contents[key].seek(0)
    return contents


def _parse(text: bytes, name: str) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise CheckpointError(f"{name} has a {_CONFIG} that is no plain YAML: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{name} has a {_CONFIG} of {type(config).__name__}, expected a mapping")
    return config


def read_mel(config: dict[str, Any], n_mels: int, name: str) -> MelConfig:
    """The mel contract that a NeMo config states under `preprocessor`; the preset `nemo` where it states
    none.

    WaveGlows are taken to be of NeMo before 2.5, which reflected recordings at their ends; of a later one, say which
    mel it is.

    Raises:
        CheckpointError: It states something that our mels do not do, or that is not a number.
    """
    settings = config.get("preprocessor")
    if not isinstance(settings, dict):
        return MelConfig.preset("nemo", n_mels=n_mels)
    try:
        return nemo(settings, n_mels=n_mels, pad_mode="reflect")
    except (ArithmeticError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name} has no usable mel in {_CONFIG}: {error}; say which mel it is with mel=... (--mel)"
        ) from error


def rename(key: str) -> str | None:
    """NVIDIA's name of a key of NeMo's state dict; None for what is no weight of WaveGlow."""
    if not key.startswith("waveglow.") or re.search(r"convinv\.\d+\.inv_conv\.", key):
        return None
    return re.sub(r"^waveglow\.wavenet\.", "waveglow.WN.", key)
