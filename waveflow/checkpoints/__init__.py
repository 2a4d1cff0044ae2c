"""Models on disk: the native form, and the safe reading of other projects' files."""

from waveflow.checkpoints.atomic import atomic_directory
from waveflow.checkpoints.convert import Conversion, convert
from waveflow.checkpoints.errors import CheckpointError
from waveflow.checkpoints.native import load, read_facts, save
from waveflow.checkpoints.proof import Proof, prove

__all__ = [
    "CheckpointError",
    "Conversion",
    "Proof",
    "atomic_directory",
    "convert",
    "load",
    "prove",
    "read_facts",
    "save",
]
