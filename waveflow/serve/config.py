"""What an operator decides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass
class ServeConfig:
    """Limits and habits of a server.

    Attributes:
        max_body_bytes: Of a request's body, and of a WebSocket message.
        max_seconds: Of audio, in or out, of a request; a stream may be ten times as long.
        max_requests: Requests at a time, from the first byte of their body to the last of their answer.
        max_streams: WebSockets at a time.
        batch_window_ms: How long a request may wait for others to be computed with.
        max_batch_frames: Mel frames of a batch, its items counted as long as the longest.
        receive_seconds: For a body to arrive, and between two messages of a stream.
        wait_seconds: For the computation to begin.
        send_seconds: For a client to take what it was sent.
        drain_seconds: For work at hand to finish after SIGTERM.
        token: Clients must send it as `Authorization: Bearer TOKEN`; None lets everybody in.

    Raises:
        ValueError: A limit is infinite or not above 0 (`batch_window_ms` and `max_streams` may be 0), or the token is
            empty or has characters other than visible ASCII.
    """

    max_body_bytes: int = 16 << 20
    max_seconds: float = 60.0
    max_requests: int = 128
    max_streams: int = 16
    batch_window_ms: float = 5.0
    max_batch_frames: int = 4096
    receive_seconds: float = 15.0
    wait_seconds: float = 30.0
    send_seconds: float = 30.0
    drain_seconds: float = 30.0
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "token":
                if value is not None and not (value and value.isascii() and value.isprintable() and " " not in value):
                    raise ValueError("the token is empty or has characters other than visible ASCII; choose another")
            elif not 0 <= value < float("inf") or (value == 0 and item.name not in ("batch_window_ms", "max_streams")):
                raise ValueError(f"{item.name} is {value}, expected a number above 0")
