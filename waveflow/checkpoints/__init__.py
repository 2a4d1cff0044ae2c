"""Models on disk: the native form, and the safe reading of other projects' files."""

from waveflow.checkpoints.atomic import atomic_directory
from waveflow.checkpoints.errors import CheckpointError
from waveflow.checkpoints.native import load, save

__all__ = ["CheckpointError", "atomic_directory", "load", "save"]
