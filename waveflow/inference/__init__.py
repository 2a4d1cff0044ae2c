"""From a mel to audio: loading, fusing, noise, chunking, denoising, projection."""

from waveflow.inference.denoise import Denoiser
from waveflow.inference.fuse import fuse
from waveflow.inference.noise import normal
from waveflow.inference.project import project
from waveflow.inference.vocoder import Vocoder, bundled_models, load

__all__ = ["Denoiser", "Vocoder", "bundled_models", "fuse", "load", "normal", "project"]
