"""Where the bytes of shards come from: a folder, or an address whose files are kept for a while."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from waveflow.data.shards import Shard

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ATTEMPTS = 3
TIMEOUT = 60.0


class ShardError(Exception):
    """A whole shard cannot be had."""


class Store(Protocol):
    """Gives bytes of shards."""

    def read(self, shard: Shard, offset: int, n: int) -> bytes:
        """`n` bytes of a shard from `offset` on; fewer where it ends.

        Raises:
            ShardError: The shard is not there, or is not what its list says.
        """


class Folder:
    """Shards in a folder, e.g. one that is mounted from elsewhere; read in place.

    Args:
        folder: Of the tar files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, shard: Shard, offset: int, n: int) -> bytes:
        """Read `n` bytes of a shard from `offset` on.

        Raises:
            ShardError: The file cannot be read.
        """
        try:
            with open(self.folder / shard.name, "rb") as file:
                file.seek(offset)
                return file.read(n)
        except OSError as error:
            raise ShardError(f"{self.folder / shard.name} cannot be read: {error.strerror}") from error


class Address:
    """Shards behind http(s), fetched whole when first needed, checked, and given up for newer ones.

    Processes on one machine share the cache.

    Args:
        address: Of the folder of the tar files.
        cache: Folder; made where it is not there.
        keep: Shards that stay, at most.
    """

    def __init__(self, address: str, cache: Path, keep: int) -> None:
        self.address, self.cache, self.keep = address.rstrip("/"), cache, keep
        self._given_up: dict[str, str] = {}

    def __str__(self) -> str:
        return self.address

    def read(self, shard: Shard, offset: int, n: int) -> bytes:
        """Read `n` bytes of a shard from `offset` on, fetched first where it is not in the cache.

        Raises:
            ShardError: It cannot be fetched, now or at an earlier call, or disappears from the cache as soon as it is.
        """
        if shard.name in self._given_up:
            raise ShardError(self._given_up[shard.name])
        path = self.cache / shard.name
        for _ in range(ATTEMPTS):
            try:
                with open(path, "rb") as file:
                    file.seek(offset)
                    return file.read(n)
            except FileNotFoundError:
                # Another process may give it up again before it is opened here.
                self._fetch(shard, path)
        raise ShardError(f"{path} disappears as soon as it is fetched; keep more, or give each run its own cache")

    def _fetch(self, shard: Shard, path: Path) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock")):
            if path.is_file():
                return
            part = path.with_suffix(".part")
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    _download(f"{self.address}/{shard.name}", part, shard.sha256)
                    break
                except (OSError, ValueError) as error:
                    part.unlink(missing_ok=True)
                    if attempt == ATTEMPTS:
                        reason = f"{self.address}/{shard.name} cannot be fetched: {error}"
                        self._given_up[shard.name] = reason
                        raise ShardError(reason) from error
                    time.sleep(0.5 * 2**attempt)
            os.replace(part, path)
            self._forget(path)

    def _forget(self, newest: Path) -> None:
        others = sorted((p for p in self.cache.glob("*.tar") if p != newest), key=_age)
        for path in others[self.keep - 1 :]:
            path.unlink(missing_ok=True)


def store_of(lists: Path, source: str | None, cache: str | Path | None, keep: int) -> Store:
    """The store of a source: a folder, an http(s) address, or None for the folder of the lists.

    Raises:
        ValueError: An address without a cache, or where files cannot be locked; or a folder that is not there.
    """
    if source is None:
        return Folder(lists)
    if source.startswith(("http://", "https://")):
        if cache is None:
            raise ValueError(f"the shards at {source} need a folder to be kept in; give data.cache=FOLDER")
        if fcntl is None:
            raise ValueError(
                f"the shards at {source} are fetched only where POSIX can lock their files; get them yourself and give "
                "data.source=FOLDER"
            )
        return Address(source, Path(cache), keep)
    if not Path(source).is_dir():
        raise ValueError(f"the folder of the shards, {source}, does not exist; give a folder or an http(s) address")
    return Folder(Path(source))


def _download(address: str, part: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, open(part, "wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)
    with open(part, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise ValueError("its SHA-256 is not that in the list")


def _age(path: Path) -> float:
    """What files sort by, newest first; one that is gone comes last."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return float("inf")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
