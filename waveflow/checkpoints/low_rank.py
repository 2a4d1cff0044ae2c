"""A voice as a file: low-rank updates of a base model, which is named by what its weights are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from waveflow._version import __version__
from waveflow.checkpoints.errors import CheckpointError, damaged
from waveflow.checkpoints.native import portable
from waveflow.files import replacing
from waveflow.models import MelFlow, config_to_dict, model_name
from waveflow.nn import low_rank

FORMAT, FORMAT_VERSION = "waveflow-adapter", "1"


def fingerprint(model: MelFlow) -> str:
    """SHA-256 of a model's name, settings and weights, these as float32: the same for every precision on disk that
    holds the same values.

    Args:
        model: Without updates.
    """
    digest = hashlib.sha256(json.dumps([model_name(model), config_to_dict(model.config)], sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        value = value.detach().cpu().contiguous()
        value = value.float() if value.is_floating_point() else value
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def save_adapter(
    path: str | os.PathLike[str],
    updates: Mapping[str, Tensor],
    base: str,
    *,
    base_name: str = "",
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write the updates of a model as one safetensors file, whole or not at all.

    Args:
        path: File.
        updates: As `waveflow.nn.low_rank.updates` gives them.
        base: `fingerprint` of the model below.
        base_name: What to call that model in messages.
        metadata: Facts to keep, plain JSON values.
        dtype: Precision on disk.

    Raises:
        CheckpointError: An update is not finite (in `dtype`), or the place cannot be written.
    """
    tensors = {name: portable(name, value, dtype) for name, value in updates.items()}
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "waveflow_version": __version__,
        "base": base,
        "base_name": base_name,
        "metadata": json.dumps(dict(metadata or {})),
    }
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(safetensors.torch.save(tensors, metadata=facts))
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; free some space, or choose another place"
        ) from error
    return path


def read_adapter(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read an adapter's updates, and its facts `base`, `base_name`, `waveflow_version`, `metadata`.

    Raises:
        CheckpointError: The file is missing, damaged, or no adapter.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path} as an adapter ({error}); give the adapter.safetensors of `waveflow finetune --adapter`"
        ) from error
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no adapter: its metadata lacks format={FORMAT!r}; whole models are directories, "
            "loaded as waveflow.load(directory)"
        )
    if facts.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {facts.get('format_version')}, waveflow {__version__} reads {FORMAT_VERSION}; "
            f"install waveflow {facts.get('waveflow_version', 'of a later version')}"
        )
    if bad := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise CheckpointError(f"{path} has NaN or infinite values in {bad[0]}; get a sound adapter")
    if missing := [key for key in ("base", "base_name", "waveflow_version", "metadata") if key not in facts]:
        raise damaged(str(path), f"its facts lack {missing[0]}")
    try:
        metadata = json.loads(facts["metadata"])
    except (ValueError, RecursionError) as error:
        raise damaged(str(path), f"its metadata is no JSON ({error})") from error
    if not isinstance(metadata, dict):
        raise damaged(str(path), f"its metadata is a {type(metadata).__name__}, expected a dict")
    return tensors, {**facts, "metadata": metadata}


def apply_adapter(model: MelFlow, path: str | os.PathLike[str], name: str = "this model") -> dict[str, Any]:
    """Put an adapter's updates on its base, unmerged.

    Args:
        model: The base, changed in place.
        path: What `save_adapter` wrote.
        name: What to call the model in messages.

    Returns:
        The adapter's facts, as `read_adapter`.

    Raises:
        CheckpointError: As `read_adapter`, or the adapter was made for another base.
    """
    tensors, facts = read_adapter(path)
    if (found := fingerprint(model)) != facts["base"]:
        raise CheckpointError(
            f"{path} was made for the base {facts['base_name'] or 'model'} with fingerprint {facts['base'][:12]}, but "
            f"{name} has {found[:12]}: other weights or settings; load the base it was made for, or fine-tune again"
        )
    try:
        low_rank.attach_updates(model, tensors)
    except ValueError as error:
        raise CheckpointError(f"{path} does not fit its base: {error}; get a sound adapter") from error
    return facts
