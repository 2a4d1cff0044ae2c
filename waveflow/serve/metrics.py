"""What a server tells of itself, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics:
    """Counters of one server, in a registry of its own.

    Args:
        waiting: Tells how much work waits.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "waveflow_requests_total", "Requests and WebSockets, by status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "waveflow_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.open = Gauge("waveflow_requests_open", "Requests and WebSockets at hand.", ["kind"], registry=registry)
        self.waiting = Gauge("waveflow_work_waiting", "Utterances and blocks that wait.", registry=registry)
        self.waiting.set_function(waiting)
        self.batch_size = Histogram(
            "waveflow_batch_utterances",
            "Utterances of a batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.splits = Counter(
            "waveflow_batches_split_total", "Batches that failed and were computed one by one.", registry=registry
        )
        self.batch_seconds = Counter("waveflow_compute_seconds_total", "Time spent on batches.", registry=registry)
        self.frames = Counter("waveflow_frames_total", "Mel frames of the batches.", registry=registry)
        self.audio = Counter("waveflow_audio_seconds_total", "Audio sent.", registry=registry)

    def on_batch(self, size: int, frames: int, seconds: float) -> None:
        """Count a batch of the worker's."""
        self.batch_size.observe(size)
        self.frames.inc(frames)
        self.batch_seconds.inc(seconds)

    def text(self) -> bytes:
        """Everything, as a scraper wants it."""
        return generate_latest(self._registry)
