"""Files and directories that are written whole or not at all; any kind, so that nothing here needs a library."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "its folder is a file; choose another folder",
}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path` when the `with` block ends, or vanishes when an error ends it.

    Raises:
        OSError: Not writable or disk full; the message names `path`.
    """
    part = Path(path).with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            reason = _REMEDIES.get(error.errno or 0, error.strerror)
            raise OSError(error.errno, f"cannot write {os.fspath(path)}: {reason}") from error
        raise


@contextmanager
def atomic_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a directory as one unit: what the block writes under the yielded path becomes `directory`.

    The block writes into a hidden neighbour of `directory`, which is then flushed to the disk and renamed
    into place. A directory that is already there stays as it is until then, and then goes with all it holds.
    Where the block fails, nothing is left behind and nothing has changed.

    Raises:
        OSError: The place cannot be written, or the disk is full; the message names `directory`.
    """
    target = Path(os.path.realpath(directory))
    staging = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        if target.exists() and not target.is_dir():
            raise FileExistsError(errno.EEXIST, "it is a file, expected a directory or nothing")
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        yield staging
        for path in [*staging.rglob("*"), staging]:
            _flush(path)
        _put_in_place(staging, target)
        _flush(target.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {target}: {error.strerror or error}; free some space, or choose a place that can "
            "be written, and save again (what was there is unchanged)",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, target: Path) -> None:
    """Make `target` what `staging` is; what `target` was is left under the name of `staging`, or gone."""
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        # Without an atomic exchange there is a moment in which only the neighbour has the old directory.
        aside = staging.with_suffix(".replaced")
        target.rename(aside)
        try:
            staging.rename(target)
        except OSError:
            aside.rename(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; false where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0


def _flush(path: Path) -> None:
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # this system cannot open a directory, and keeps its names safe by itself
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
