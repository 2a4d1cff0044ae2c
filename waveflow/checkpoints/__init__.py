"""Models on disk: the native form, and the safe reading of other projects' files."""

from waveflow.checkpoints.atomic import atomic_directory
from waveflow.checkpoints.convert import Conversion, convert
from waveflow.checkpoints.errors import CheckpointError
from waveflow.checkpoints.low_rank import apply_adapter, fingerprint, read_adapter, save_adapter
from waveflow.checkpoints.native import load, read_facts, save
from waveflow.checkpoints.proof import Proof, prove

__all__ = [
    "CheckpointError",
    "Conversion",
    "Proof",
    "apply_adapter",
    "atomic_directory",
    "convert",
    "fingerprint",
    "load",
    "prove",
    "read_adapter",
    "read_facts",
    "save",
    "save_adapter",
]
