"""Mel-conditioned flows over waveforms, and the registry that names them."""

from waveflow.models.base import MelContext, MelFlow
from waveflow.models.flowavenet import FloWaveNet, FloWaveNetConfig
from waveflow.models.lapglow import LapGlow, LapGlowConfig
from waveflow.models.registry import (
    BEFORE_SETTINGS,
    MODELS,
    SIZES,
    build,
    config_from_dict,
    config_to_dict,
    is_registered,
    model_name,
    register,
)
from waveflow.models.squeezewave import SqueezeWave, SqueezeWaveConfig
from waveflow.models.waveflow import WaveFlow, WaveFlowConfig
from waveflow.models.waveglow import WaveGlow, WaveGlowConfig
from waveflow.models.wavenode import WaveNODE, WaveNODEConfig

__all__ = [
    "BEFORE_SETTINGS",
    "MODELS",
    "SIZES",
    "FloWaveNet",
    "FloWaveNetConfig",
    "LapGlow",
    "LapGlowConfig",
    "MelContext",
    "MelFlow",
    "SqueezeWave",
    "SqueezeWaveConfig",
    "WaveFlow",
    "WaveFlowConfig",
    "WaveGlow",
    "WaveGlowConfig",
    "WaveNODE",
    "WaveNODEConfig",
    "build",
    "config_from_dict",
    "config_to_dict",
    "is_registered",
    "model_name",
    "register",
]
