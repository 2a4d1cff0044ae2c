"""Conditioners: the networks that tell a flow step what to do. They know nothing of flows."""

from waveflow.nn.context import Context, as_context
from waveflow.nn.upsample import MelUpsample, stack_neighbours
from waveflow.nn.wavenet import WaveNet

__all__ = ["Context", "MelUpsample", "WaveNet", "as_context", "stack_neighbours"]
