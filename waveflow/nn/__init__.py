"""Conditioners: the networks that tell a flow step what to do. They know nothing of flows."""

from waveflow.nn.context import Context, as_context
from waveflow.nn.convnet import ConvNet
from waveflow.nn.frame_encoder import FrameEncoder
from waveflow.nn.grouping import group_samples, ungroup_samples
from waveflow.nn.lipschitz import LipschitzMLP
from waveflow.nn.made import MADE
from waveflow.nn.mlp import MLP, TimedMLP
from waveflow.nn.scaled_wavenet import ScaledWaveNet
from waveflow.nn.separable import SeparableWaveNet
from waveflow.nn.timed_wavenet import TimedWaveNet
from waveflow.nn.upsample import MelUpsample, stack_neighbours
from waveflow.nn.upsample2d import MelUpsample2d
from waveflow.nn.wavenet import WaveNet
from waveflow.nn.wavenet2d import WaveNet2D

__all__ = [
    "MADE",
    "MLP",
    "Context",
    "ConvNet",
    "FrameEncoder",
    "LipschitzMLP",
    "MelUpsample",
    "MelUpsample2d",
    "ScaledWaveNet",
    "SeparableWaveNet",
    "TimedMLP",
    "TimedWaveNet",
    "WaveNet",
    "WaveNet2D",
    "as_context",
    "group_samples",
    "stack_neighbours",
    "ungroup_samples",
]
