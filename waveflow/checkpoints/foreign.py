"""Whatever file another project left: which kind it is, and its tensors."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from torch import Tensor

from waveflow.checkpoints import nemo
from waveflow.checkpoints.errors import CheckpointError, damaged
from waveflow.checkpoints.paddle import read_pdparams
from waveflow.checkpoints.stored import Record, StoredTensor
from waveflow.checkpoints.torch_files import read_torch_file

_MAX_MODULES = 20_000
_MAX_DEPTH = 32
_MODELS = ("model", "state_dict", "generator")
_FACTS = ("iteration", "epoch", "learning_rate")


@dataclass
class Foreign:
    """A file of another project, read but not yet understood.

    Attributes:
        format: Container and contents, for people.
        tensors: The state dict.
        sha256: Of the file.
        facts: What the file says about its training.
        nemo_config: The YAML of a `.nemo`, plain values.
    """

    format: str
    tensors: dict[str, Tensor]
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)
    nemo_config: dict[str, Any] | None = None


def read_foreign(path: str | os.PathLike[str]) -> Foreign:
    """Read the state dict out of a file, executing nothing of it.

    Known are what `torch.save` writes, zip or legacy (`.pt`, `.pth`, `.pth.tar`, ...), safetensors, NeMo's `.nemo` (a
    `.tar`), and Paddle's `.pdparams`. But for the last, contents tell which it is, not the name.

    Raises:
        CheckpointError: It is none of these, is damaged, or asks for something that no checkpoint needs.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a directory, expected a file; a native checkpoint needs no conversion")
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256") if hasattr(hashlib, "file_digest") else _digest(stream)
            return _read(stream, str(path), sha256.hexdigest())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _digest(stream: BinaryIO) -> Any:
    sha256 = hashlib.sha256()
    while block := stream.read(1 << 20):
        sha256.update(block)
    return sha256


def _read(stream: BinaryIO, name: str, sha256: str) -> Foreign:
    if name.endswith(".pdparams"):
        return Foreign("Paddle parameters", read_pdparams(stream, name), sha256)
    stream.seek(0)
    head = stream.read(9)
    if head[8:] == b"{":
        stream.seek(0)
        try:
            return Foreign("safetensors state dict", safetensors.torch.load(stream.read()), sha256)
        except (safetensors.SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise damaged(name, error) from error
    if not nemo.is_tar(stream):
        return _read_torch(stream, name, sha256)
    config, weights = nemo.read_archive(stream, name)
    found = _read_torch(weights, name, sha256)
    tensors = {new: value for key, value in found.tensors.items() if (new := nemo.rename(key))}
    return Foreign(f"NeMo archive of a {found.format}", tensors, sha256, found.facts, config)


def _read_torch(stream: BinaryIO, name: str, sha256: str) -> Foreign:
    root, container = read_torch_file(stream, name)
    # Parallel WaveGAN's keeps a generator and a discriminator under `model`.
    model, facts = _within(_within(root)), {}
    if isinstance(root, dict):
        facts = {key: root[key] for key in _FACTS if type(root.get(key)) in (int, float)}
    if isinstance(model, Record):
        stored, contents = _flatten(model, name), f"pickled {model.name} object"
    elif isinstance(model, dict):
        stored, contents = model, "state dict"
    else:
        kind = type(model).__name__.removeprefix("Stored")
        raise CheckpointError(f"{name} holds a {kind}, expected a model or its state dict")
    strange = [key for key, value in stored.items() if type(key) is not str or not isinstance(value, StoredTensor)]
    if strange or not stored:
        what = f"{str(strange[0])[:200]!r} is no tensor" if strange else "it is empty"
        raise CheckpointError(
            f"{name} is no state dict: {what}; "
            "expected a model, or its state dict, plain or under 'model' or 'state_dict'"
        )
    tensors = {key: value.tensor() for key, value in stored.items()}
    return Foreign(f"{container} of a {contents}", tensors, sha256, facts)


def _within(value: Any) -> Any:
    """The model in a checkpoint of several things, or what was given."""
    if not isinstance(value, dict):
        return value
    return next((value[key] for key in _MODELS if isinstance(value.get(key), (Record, dict))), value)


def _flatten(module: Record, name: str) -> dict[str, Any]:
    """The state dict of a module's record: its parameters and buffers, and those of the modules below.

    Plain attributes are left out: a weight-normed module of old torch has a stale `weight` among them, and
    NVIDIA's 1x1 convolution the inverse of some earlier weight.
    """
    found: dict[str, Any] = {}
    queue, count = [("", module, 0)], 0
    while queue:
        prefix, record, depth = queue.pop()
        count += 1
        parts: list[Any] = [record.state.get(key) if isinstance(record, Record) else None for key in _PARTS]
        if count > _MAX_MODULES or depth > _MAX_DEPTH or not all(isinstance(part, dict) for part in parts):
            raise damaged(name, f"the object at {prefix[:200] or 'its root'!r} is no module, or is nested without end")
        parameters, buffers, modules = parts
        found |= {f"{prefix}{key}": value for key, value in (parameters | buffers).items() if value is not None}
        queue += [(f"{prefix}{key}.", value, depth + 1) for key, value in modules.items() if value is not None]
    return found


_PARTS = ("_parameters", "_buffers", "_modules")
