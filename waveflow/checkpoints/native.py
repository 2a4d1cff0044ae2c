"""The native checkpoint: a directory with `config.json` and `model.safetensors`, nothing executable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from waveflow._version import __version__
from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.atomic import atomic_directory, entries
from waveflow.checkpoints.errors import CheckpointError, some
from waveflow.devices import plain_defaults
from waveflow.models import (
    BEFORE_SETTINGS,
    MODELS,
    MelFlow,
    build,
    config_from_dict,
    config_to_dict,
    is_registered,
    model_name,
)
from waveflow.nn import low_rank

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT_VERSION = 1
# Where a training run leaves its model: at its end, and at the best validation so far.
_OF_A_RUN = ("model", "best")

_FACTS = {"model": str, "config": dict, "weights_sha256": str, "waveflow_version": str, "metadata": dict}
_AGAIN = "copy or download the checkpoint again"
# What building a model from damaged settings can raise.
_NO_MODEL = (ArithmeticError, AttributeError, IndexError, MemoryError, RuntimeError, TypeError, ValueError)


def save(
    model: MelFlow,
    directory: str | os.PathLike[str],
    *,
    metadata: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model as a native checkpoint, whole or not at all.

    Args:
        model: A model of the registry.
        directory: Created, or replaced where it is a checkpoint already, which stays intact until the new one
            is whole.
        metadata: Facts to keep with the model (training, source), plain JSON values.
        dtype: Precision of the weights on disk, e.g. `torch.float16`; the model's own unless given.

    Returns:
        The directory.

    Raises:
        CheckpointError: The weights are not finite (in `dtype`) or have low-rank updates that are not merged, the
            directory holds other things, or it cannot be written.
    """
    directory = Path(directory)
    if low_rank.updates(model):
        raise CheckpointError(
            "the model has low-rank updates, which a whole model cannot keep; merge them first, by "
            "waveflow.nn.low_rank.merge, or write them alone, by waveflow.checkpoints.save_adapter"
        )
    weights = {name: portable(name, value, dtype) for name, value in model.state_dict().items()}
    _refuse_to_replace_others(directory)
    data = safetensors.torch.save(weights, metadata={"format": "pt"})
    facts = {
        "format": "waveflow",
        "format_version": FORMAT_VERSION,
        "waveflow_version": __version__,
        "model": model_name(model),
        "config": config_to_dict(model.config),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "metadata": metadata or {},
    }
    try:
        text = json.dumps(facts, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config or metadata is no JSON: {error}; give plain, finite values") from error
    with atomic_directory(directory) as staging:
        (staging / WEIGHTS).write_bytes(data)
        (staging / CONFIG).write_text(text + "\n", encoding="utf-8")
    return directory


def load(
    directory: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> MelFlow:
    """Read a native checkpoint into a model in eval mode.

    Args:
        directory: What `save` wrote.
        dtype: Precision of the model, whatever that of the weights on disk.
        device: Where to put it.

    Raises:
        CheckpointError: A file is missing, damaged, or does not fit the other; nothing is loaded in part.
    """
    directory = Path(directory)
    facts = read_facts(directory)
    weights = _read_weights(directory / WEIGHTS, facts["weights_sha256"])
    with apart():
        with _described(directory, facts):
            model = build(facts["model"], **facts["config"])
        _refuse_other_weights(directory / WEIGHTS, weights, model.state_dict())
        model = model.to(dtype)
        model.load_state_dict(weights)
        return model.to(device).eval()


@contextmanager
def apart() -> Iterator[None]:
    """Build models whose weights will be replaced: whatever defaults PyTorch was given, and without a change of the
    random state."""
    with torch.random.fork_rng(devices=[]), plain_defaults():
        yield


def checkpoint_in(directory: str | os.PathLike[str]) -> Path:
    """The checkpoint that a directory is; of a training run, its `model/`, and `best/` until there is one."""
    directory = Path(directory)
    places = (directory, *(directory / name for name in _OF_A_RUN))
    return next((place for place in places if (place / CONFIG).is_file()), directory)


def read_facts(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check `config.json` without touching the weights.

    Returns:
        A dict with `model`, `config`, `weights_sha256`, `waveflow_version`, `metadata`.

    Raises:
        CheckpointError: There is none, or it is not one of ours.
    """
    path = Path(directory) / CONFIG
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = checkpoint_in(directory)
        remedy = f"the model of this training run is in {found}: name that"
        if found == Path(directory):
            remedy = (
                f"expected a directory with {CONFIG} and {WEIGHTS}, as vocoder.save(directory) or `waveflow convert` "
                "writes, or a training run that has been validated"
            )
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(facts, dict) or facts.get("format") != "waveflow":
        raise CheckpointError(
            f'{path} is not the config of a waveflow checkpoint: it lacks "format": "waveflow"; '
            "files of other projects go through `waveflow convert`"
        )
    if facts.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {facts.get('format_version')!r}, waveflow {__version__} reads "
            f"{FORMAT_VERSION}; install waveflow {facts.get('waveflow_version', 'of a later version')}"
        )
    for key, kind in _FACTS.items():
        if not isinstance(facts.get(key), kind):
            raise CheckpointError(f"{path} has {key}={facts.get(key)!r}, expected a {kind.__name__}; {_AGAIN}")
    if not is_registered(facts["model"]) or facts["model"] not in MODELS:
        remedy = f"install waveflow {facts['waveflow_version']}, which wrote it"
        if facts["waveflow_version"] == __version__:
            remedy = (
                "it is another package's: register it first, by waveflow.models.register or by naming the module that "
                "does in WAVEFLOW_MODELS"
            )
        raise CheckpointError(
            f"{path} names the model {facts['model']!r}, waveflow {__version__} has {[*MODELS]}; {remedy}"
        )
    return {**facts, "config": {**BEFORE_SETTINGS.get(facts["model"], {}), **facts["config"]}}


def read_mel_config(directory: str | os.PathLike[str]) -> MelConfig:
    """The mel contract of a checkpoint's model, without touching the weights.

    Raises:
        CheckpointError: As `read_facts`, or the config is none of this version.
    """
    facts = read_facts(directory)
    with _described(directory, facts):
        config = config_from_dict(MODELS[facts["model"]][1], facts["config"])
        config.mel.validate()
    return config.mel


@contextmanager
def _described(directory: str | os.PathLike[str], facts: dict[str, Any]) -> Iterator[None]:
    """What is wrong with settings is wrong with `config.json`."""
    try:
        yield
    except _NO_MODEL as error:
        raise CheckpointError(
            f"{Path(directory) / CONFIG} does not describe a model of this version ({__version__}): {error}; "
            f"it was written by waveflow {facts['waveflow_version']}: install that, or convert again"
        ) from error


def portable(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight as it goes to the disk: on the CPU, contiguous, a copy, in `dtype` where that is given.

    Raises:
        CheckpointError: It is not finite, or not in `dtype`.
    """
    value = value.detach()
    if not value.is_floating_point():
        return value.cpu().clone()
    if not value.isfinite().all():
        raise CheckpointError(f"{name} has NaN or infinite values, expected none; save a state from before them")
    cast = value.to("cpu", dtype or value.dtype, copy=True).contiguous()
    if not cast.isfinite().all():
        raise CheckpointError(
            f"{name} reaches {float(value.abs().max()):g}, more than {dtype} can hold; save in float32"
        )
    return cast


def _refuse_to_replace_others(directory: Path) -> None:
    if others := sorted(entries(directory) - {CONFIG, WEIGHTS}):
        raise CheckpointError(
            f"{directory} holds {some(others)}, which replacing it would delete; choose a directory that is "
            "new or holds a checkpoint alone"
        )


def _read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        weights = safetensors.torch.load(data)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; {_AGAIN}") from error
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error}); {_AGAIN}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(
            f"{path} is damaged or of another checkpoint: its SHA-256 is not that in {CONFIG}; {_AGAIN}"
        )
    return weights


def _refuse_other_weights(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    remedy = f"{CONFIG} and {WEIGHTS} must come from one save"
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointError(f"{path} lacks {some(missing)}, which the model of {CONFIG} has; {remedy}")
    if unexpected := sorted(found.keys() - expected.keys()):
        raise CheckpointError(f"{path} has {some(unexpected)}, not in the model of {CONFIG}; {remedy}")
    for name, value in found.items():
        if value.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(value.shape)}, the model of {CONFIG} expects "
                f"{tuple(expected[name].shape)}; {remedy}"
            )
        if value.is_floating_point() != expected[name].is_floating_point():
            kinds = f"{value.dtype}, expected {expected[name].dtype}"
            raise CheckpointError(f"{path} has {name} as {kinds}; {remedy}")
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{path} has NaN or infinite values in {name}; get a sound checkpoint")
