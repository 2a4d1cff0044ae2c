"""PyTorch's two file formats, zip and legacy, read without unpickling; see `unpickle`."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from typing import Any, BinaryIO

import torch

from waveflow.checkpoints.errors import CheckpointError, damaged
from waveflow.checkpoints.stored import Global, Storage
from waveflow.checkpoints.unpickle import DAMAGE, DTYPES, MAX_PICKLE_BYTES, read_pickle

ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_BROKEN = (*DAMAGE, OSError, RuntimeError, zipfile.BadZipFile)


def read_torch_file(stream: BinaryIO, name: str) -> tuple[Any, str]:
    """Read what `torch.save` wrote as inert values.

    Args:
        stream: The open file; it must stay open while numbers are read.
        name: What to call it in errors.

    Returns:
        The saved value, with `Record`s for objects and `StoredTensor`s for tensors; the name of the format.

    Raises:
        CheckpointError: It is no such file, is damaged, or asks for something that is not in the list.
    """
    stream.seek(0)
    magic = stream.read(len(ZIP_MAGIC))
    if magic == ZIP_MAGIC:
        return _ZipFile(stream, name).read(), "PyTorch zip"
    if magic[:1] == b"\x80":
        return _LegacyFile(stream, name).read(), "PyTorch legacy"
    raise CheckpointError(
        f"{name} is no PyTorch file: it begins with {magic!r}; download it again, and see that it is neither "
        "empty nor a web page"
    )


class _File:
    """Storages by key, however the file lays them out."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.stream, self.name = stream, name
        self.size = stream.seek(0, os.SEEK_END)
        self.storages: dict[str, Storage] = {}

    def load_persistent(self, reference: Any) -> Any:
        """A storage from its persistent id; a class from one that carries its source text."""
        kind, what = reference[0], reference[1]
        if not isinstance(what, Global):
            raise TypeError("a reference to something without a name")
        if kind == "module":
            return what
        _, _, key, _, numel, *view = reference
        dtype = DTYPES.get(what.name.rpartition(".")[2])
        if kind != "storage" or dtype is None or type(key) is not str or view not in ([], [None]):
            raise TypeError(f"a reference of the kind {kind!r} to {what.name}")
        if type(numel) is not int or not 0 <= numel * dtype.itemsize <= self.size:
            raise damaged(self.name, f"it declares a storage of {numel} values in {self.size} bytes")
        storage = self.storages.setdefault(key, Storage(key, dtype, numel, self.values))
        if (storage.dtype, storage.numel) != (dtype, numel):
            raise TypeError(f"two storages under the key {key!r}")
        return storage

    def values(self, storage: Storage) -> torch.Tensor:
        try:
            data = bytearray(self.data(storage))
        except _BROKEN as error:
            raise damaged(self.name, f"storage {storage.key!r} cannot be read ({error})") from error
        if len(data) != storage.numel * storage.dtype.itemsize:
            raise damaged(
                self.name,
                f"storage {storage.key!r} has {len(data)} bytes for {storage.numel} of {storage.dtype}",
            )
        return torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)

    def data(self, storage: Storage) -> bytes:
        raise TypeError(f"{type(self).__name__} does not define data(storage)")


class _ZipFile(_File):
    """An archive of `data.pkl` and one uncompressed entry per storage."""

    def read(self) -> Any:
        try:
            self.archive = zipfile.ZipFile(self.stream)
            entries = self.archive.infolist()
        except _BROKEN as error:
            raise damaged(self.name, error) from error
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise damaged(self.name, "two of its entries have one name")
        pickles = [entry for entry in self.entries if entry.endswith("/data.pkl")]
        self.root = pickles[0].removesuffix("data.pkl") if pickles else ""
        if f"{self.root}constants.pkl" in self.entries:
            raise CheckpointError(f"{self.name} is a TorchScript program; save the model's state_dict() alone")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise CheckpointError(f"{self.name} is compressed, which torch.save never does; get the original")
        if sum(entry.file_size for entry in entries) > self.size:
            raise damaged(self.name, f"it declares more data than its {self.size} bytes")
        if len(pickles) != 1:
            raise CheckpointError(f"{self.name} is a zip archive, but not one that torch.save writes")
        if self.entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"{self.name} has a pickle of over {MAX_PICKLE_BYTES} bytes; save the model alone")
        if self.entry("byteorder", b"little") != b"little":
            raise CheckpointError(f"{self.name} is big-endian; save it again on a little-endian machine")
        return read_pickle(io.BytesIO(self.entry("data.pkl")), self.name, self.load_persistent)

    def entry(self, name: str, default: bytes | None = None) -> bytes:
        if self.root + name not in self.entries and default is not None:
            return default
        try:
            return self.archive.read(self.entries[self.root + name])
        except _BROKEN as error:
            raise damaged(self.name, error) from error

    def data(self, storage: Storage) -> bytes:
        return self.archive.read(self.entries[f"{self.root}data/{storage.key}"])


class _LegacyFile(_File):
    """Five pickles (magic number, version, machine, value, keys), then each storage after its length."""

    def read(self) -> Any:
        self.stream.seek(0)
        head = io.BytesIO(self.stream.read(MAX_PICKLE_BYTES))
        if read_pickle(head, self.name) != _LEGACY_MAGIC or read_pickle(head, self.name) != _LEGACY_VERSION:
            raise CheckpointError(f"{self.name} is a pickle, but not one that torch.save writes")
        machine = read_pickle(head, self.name)
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise CheckpointError(f"{self.name} is not little-endian; save it again on a little-endian machine")
        value = read_pickle(head, self.name, self.load_persistent)
        keys = read_pickle(head, self.name)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self.storages):
            raise damaged(self.name, "its list of storages is not that of its tensors")
        self.offsets, position = {}, head.tell()
        for key in keys:
            self.stream.seek(position)
            count, storage = self.stream.read(8), self.storages[key]
            if len(count) < 8 or struct.unpack("<q", count)[0] != storage.numel:
                raise damaged(self.name, f"storage {key!r} of {storage.numel} values is not where it belongs")
            self.offsets[key] = position + 8
            position = position + 8 + storage.numel * storage.dtype.itemsize
        if position > self.size:
            raise damaged(self.name, f"it has {self.size} of {position} bytes")
        return value

    def data(self, storage: Storage) -> bytes:
        self.stream.seek(self.offsets[storage.key])
        return self.stream.read(storage.numel * storage.dtype.itemsize)
