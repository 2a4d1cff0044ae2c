"""Tile shapes of the Triton kernels, kept for each device in JSON files beside this one."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

FOLDER = Path(__file__).resolve().parent
# Of a context, so that one thread's trials are not another's settings.
_override: ContextVar[Mapping[str, dict[str, Any]]] = ContextVar("override", default=MappingProxyType({}))
_assumed: ContextVar[str | None] = ContextVar("assumed", default=None)


def configuration(kernel: str, device: torch.device, *, channels: int, size: int, rows: int) -> dict[str, Any]:
    """The launch settings of a kernel.

    A device's own file counts, else the defaults of its generation. An entry of a file applies to the `channels` and
    the operand `size` it names, up to its `rows`; the first that applies is taken.

    Args:
        kernel: Its name.
        device: Where it will run; anything but a CUDA device stands for the newest generation.
        channels: Width of the network.
        size: Bytes of an operand.
        rows: Rows of one item that a program could take.

    Raises:
        RuntimeError: Neither file has an entry that applies.
    """
    if config := _override.get().get(kernel):
        return config
    for name in _files(device):
        for entry in _read(name).get(kernel, ()):
            fits = entry.get("channels", channels) == channels and entry.get("size", size) == size
            if fits and rows <= entry.get("rows", rows):
                return entry["config"]
    raise RuntimeError(f"no configuration of {kernel} fits channels={channels}, size={size}, rows={rows}")


@contextmanager
def override(**configs: dict[str, Any]) -> Iterator[None]:
    """Take the given settings for the named kernels, whatever the files say: for tuning and tests."""
    token = _override.set({**_override.get(), **configs})
    try:
        yield
    finally:
        _override.reset(token)


@contextmanager
def assume(generation: str) -> Iterator[None]:
    """Take the defaults of a generation, `sm_80` or `sm_90`, whatever the device: for compiling ahead of time."""
    token = _assumed.set(generation)
    try:
        yield
    finally:
        _assumed.reset(token)


def slug(device_name: str) -> str:
    """A device's name as a file's: `NVIDIA H200` to `nvidia-h200`."""
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")


def write(device_name: str, entries: dict[str, list[dict[str, Any]]], folder: Path | None = None) -> Path:
    """Store a device's own settings, in the package unless a folder is given."""
    path = (folder or FOLDER) / f"{slug(device_name)}.json"
    tables = [
        f' "{kernel}": [\n' + ",\n".join(f"  {json.dumps(entry)}" for entry in table) + "\n ]"
        for kernel, table in entries.items()
    ]
    path.write_text("{\n" + ",\n".join(tables) + "\n}\n")
    _read.cache_clear()
    return path


def _files(device: torch.device) -> list[str]:
    if generation := _assumed.get():
        return [generation]
    if device.type != "cuda":
        return ["sm_90"]
    generation = "sm_90" if torch.cuda.get_device_capability(device) >= (9, 0) else "sm_80"
    return [slug(torch.cuda.get_device_name(device)), generation]


@functools.cache
def _read(name: str) -> dict[str, list[dict[str, Any]]]:
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}
