"""A vocoder over HTTP and WebSockets: requests batched as they come, limits on everything a client decides."""

from waveflow.serve.app import create_app
from waveflow.serve.config import ServeConfig

__all__ = ["ServeConfig", "create_app"]
