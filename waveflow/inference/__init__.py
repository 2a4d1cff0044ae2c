"""From a mel to audio: loading, fusing, noise, chunking, denoising, projection."""

from waveflow.inference.denoise import Denoiser
from waveflow.inference.fuse import fuse
from waveflow.inference.loading import bundled_models, load
from waveflow.inference.noise import normal
from waveflow.inference.project import project
from waveflow.inference.streaming import Stream
from waveflow.inference.vocoder import Vocoder

__all__ = ["Denoiser", "Stream", "Vocoder", "bundled_models", "fuse", "load", "normal", "project"]
