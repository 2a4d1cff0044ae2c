"""Conditioners: the networks that tell a flow step what to do. They know nothing of flows."""

from waveflow.nn.context import Context, as_context
from waveflow.nn.convnet import ConvNet
from waveflow.nn.frame_encoder import FrameEncoder
from waveflow.nn.lipschitz import LipschitzMLP
from waveflow.nn.made import MADE
from waveflow.nn.mlp import MLP, TimedMLP
from waveflow.nn.upsample import MelUpsample, stack_neighbours
from waveflow.nn.wavenet import WaveNet

__all__ = [
    "MADE",
    "MLP",
    "Context",
    "ConvNet",
    "FrameEncoder",
    "LipschitzMLP",
    "MelUpsample",
    "TimedMLP",
    "WaveNet",
    "as_context",
    "stack_neighbours",
]
