"""Directories of checkpoints: written whole or not at all, and looked into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waveflow import files
from waveflow.checkpoints.errors import CheckpointError


@contextmanager
def atomic_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """As `waveflow.files.atomic_directory`, with the errors of checkpoints.

    Raises:
        CheckpointError: The place cannot be written, or the disk is full.
    """
    try:
        with files.atomic_directory(directory) as staging:
            yield staging
    except OSError as error:
        raise CheckpointError(error.strerror or str(error)) from error


def entries(directory: str | os.PathLike[str]) -> set[str]:
    """Names in a directory; none where there is no directory.

    Raises:
        CheckpointError: The place may not be looked at.
    """
    try:
        return set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise CheckpointError(f"cannot look into {directory}: {error.strerror}; choose another place") from error
