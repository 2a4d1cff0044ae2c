"""Models by name."""

from __future__ import annotations

import dataclasses
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


def build(name: str, **config: Any) -> MelFlow:
    """Build a model with fresh weights.

    Args:
        name: A model (`waveglow`, `lapglow`, ...) or a named size (`waveglow-64`, `lapglow-small`, ...).
        config: Overrides of the model's config; `mel` may be a `MelConfig`, a dict of its fields, or a preset's name.

    Raises:
        ValueError: Unknown name or config key; the nearest valid one is named.
    """
    name, sized = SIZES.get(name, (name, {}))
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, [*MODELS, *SIZES]))
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
    raise ValueError(f"{type(model).__name__} is not in the registry, which has {[*MODELS]}; add it to MODELS")


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
