"""Audio before the mel is complete."""

from waveflow.inference.streaming.stream import Stream, StreamState, look_ahead_error

__all__ = ["Stream", "StreamState", "look_ahead_error"]
