"""Models by name."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import os
from typing import Any

from waveflow.audio.mel import MelConfig
from waveflow.models.base import MelFlow
from waveflow.models.flowavenet import FloWaveNet, FloWaveNetConfig
from waveflow.models.lapglow import LapGlow, LapGlowConfig
from waveflow.models.squeezewave import SqueezeWave, SqueezeWaveConfig
from waveflow.models.waveflow import WaveFlow, WaveFlowConfig
from waveflow.models.waveglow import WaveGlow, WaveGlowConfig
from waveflow.models.wavenode import WaveNODE, WaveNODEConfig
from waveflow.names import unknown_name

MODELS: dict[str, tuple[type[MelFlow], type]] = {
    "waveglow": (WaveGlow, WaveGlowConfig),
    "lapglow": (LapGlow, LapGlowConfig),
    "squeezewave": (SqueezeWave, SqueezeWaveConfig),
    "waveflow": (WaveFlow, WaveFlowConfig),
    "flowavenet": (FloWaveNet, FloWaveNetConfig),
    "wavenode": (WaveNODE, WaveNODEConfig),
}

BEFORE_SETTINGS: dict[str, dict[str, Any]] = {"lapglow": {"n_encoded": 0}}
"""What settings that checkpoints of earlier versions lack have to be for their weights."""

SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "waveglow-64": ("waveglow", {"n_channels": 64}),
    "waveglow-128": ("waveglow", {"n_channels": 128}),
    "waveglow-256": ("waveglow", {"n_channels": 256}),
    "waveglow-512": ("waveglow", {"n_channels": 512}),
    "lapglow-tiny": ("lapglow", {"n_flows": 6, "n_channels": 96, "n_encoded": 96}),
    "lapglow-small": ("lapglow", {"n_flows": 6, "n_channels": 128, "n_encoded": 128}),
    "lapglow-base": ("lapglow", {}),
    "squeezewave-128l": ("squeezewave", {"n_group": 128, "n_channels": 256}),
    "squeezewave-128s": ("squeezewave", {"n_group": 128, "n_channels": 128}),
    "squeezewave-64l": ("squeezewave", {"n_group": 256, "n_channels": 256}),
    "squeezewave-64s": ("squeezewave", {"n_group": 256, "n_channels": 128}),
    "waveflow-64": ("waveflow", {"n_channels": 64}),
    "waveflow-96": ("waveflow", {"n_channels": 96}),
    "waveflow-128": ("waveflow", {"n_channels": 128}),
    "waveflow-256": ("waveflow", {"n_channels": 256}),
    "wavenode-64": ("wavenode", {"n_channels": 64}),
    "wavenode-128": ("wavenode", {"n_channels": 128}),
}


ENTRY_POINTS = "waveflow.models"
"""Group of entry points of other packages, and their modules that register models."""

VARIABLE = "WAVEFLOW_MODELS"
"""Environment variable that names modules to the same end, with commas between."""


def register(name: str, model_class: type[MelFlow], config_class: type, **sizes: dict[str, Any]) -> None:
    """Let a model be built, saved, loaded, trained and served by its name, as those of this package are.

    So that the commands know it too, its module must be imported: name it as an entry point of the group
    `waveflow.models`, or in the environment variable `WAVEFLOW_MODELS`.

    Args:
        name: In checkpoints and on the command line.
        model_class: Made as `model_class(config)`.
        config_class: A dataclass with defaults for all fields, among them `mel` and `sigma`.
        sizes: Named sizes as overrides of the config.

    Raises:
        ValueError: Another model has the name, or the config lacks a field.
    """
    fields = [f.name for f in dataclasses.fields(config_class)] if dataclasses.is_dataclass(config_class) else []
    if not {"mel", "sigma"} <= {*fields}:
        raise ValueError(f"{config_class.__name__} has the fields {fields}, expected a dataclass with mel and sigma")
    for taken in (name, *sizes):
        known = (model_class, config_class) if taken == name else (name, sizes[taken])
        if MODELS.get(taken, SIZES.get(taken, known)) != known:
            raise ValueError(f"a model is called {taken!r} already; choose another name")
    MODELS[name] = model_class, config_class
    SIZES.update({size: (name, config) for size, config in sizes.items()})


@functools.cache
def _import_others() -> None:
    """Import what other packages, and the environment, name."""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        entry.load()
    for module in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise ValueError(
                f"{VARIABLE} names {module!r}, which Python does not find; add it to PYTHONPATH"
            ) from error


def is_registered(name: str) -> bool:
    """Whether a model or a size is called so, here or in a package that registers models."""
    if name not in MODELS and name not in SIZES:
        _import_others()
    return name in MODELS or name in SIZES


def build(name: str, **config: Any) -> MelFlow:
    """Build a model with fresh weights.

    Args:
        name: A model (`waveglow`, `lapglow`, ...) or a named size (`waveglow-64`, `lapglow-small`, ...).
        config: Overrides of the model's config; `mel` may be a `MelConfig`, a dict of its fields, or a preset's name.

    Raises:
        ValueError: Unknown name or config key; the nearest valid one is named.
    """
    if not is_registered(name):
        raise ValueError(unknown_name("model", name, [*MODELS, *SIZES]))
    name, sized = SIZES.get(name, (name, {}))
    model_class, config_class = MODELS[name]
    return model_class(config_from_dict(config_class, {**sized, **config}))


def model_name(model: MelFlow) -> str:
    """The registry's name of a model's class.

    Raises:
        ValueError: The class is not registered.
    """
    for name, (model_class, _) in MODELS.items():
        if type(model) is model_class:
            return name
    raise ValueError(f"{type(model).__name__} is not in the registry, which has {[*MODELS]}; call register")


def config_to_dict(config: Any) -> dict[str, Any]:
    """A model's config as plain values, for JSON."""
    return dataclasses.asdict(config)


def config_from_dict(config_class: type, values: dict[str, Any]) -> Any:
    """A model's config from plain values; unknown keys are refused.

    Args:
        config_class: Dataclass of the model's config.
        values: Its fields; `mel` may be a preset's name, or a dict of the fields of a `MelConfig`.

    Raises:
        ValueError: The config has no such field; the message names the nearest.
    """
    known = [f.name for f in dataclasses.fields(config_class)]
    for key in values:
        if key not in known:
            raise ValueError(unknown_name(f"setting of {config_class.__name__}", str(key), known))
    mel = values.get("mel")
    if isinstance(mel, str):
        values = {**values, "mel": MelConfig.preset(mel)}
    elif isinstance(mel, dict):
        values = {**values, "mel": MelConfig.from_dict(mel)}
    return config_class(**values)
