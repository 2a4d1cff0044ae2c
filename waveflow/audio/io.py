"""Sound files in and out: any format, rate and channel count to float tensors, and back."""

from waveflow.audio.reading import AudioError, AudioInfo, EmptyAudioError, info, read, read_blocks
from waveflow.audio.resampling import resample
from waveflow.audio.writing import write, writer

__all__ = [
    "AudioError",
    "AudioInfo",
    "EmptyAudioError",
    "info",
    "read",
    "read_blocks",
    "resample",
    "write",
    "writer",
]
