"""The process: uvicorn, with the deadlines that it leaves out, and an end that loses no work."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from waveflow.serve.config import ServeConfig

_log = logging.getLogger("uvicorn.error")
# uvicorn says so of every refusal of a WebSocket, though the answer was sent.
_NO_ERROR = "ASGI callable returned without completing handshake."


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve an application of `create_app` until SIGTERM or SIGINT, and finish the work at hand; again ends at once."""
    config: ServeConfig = app.state.service.config
    DrainingServer(
        uvicorn.Config(
            app,
            host,
            port,
            http=connection_of(config),
            ws_max_size=config.max_body_bytes,
            # A client's pong would wait behind its frames, and count as late; what stalls has deadlines of its own.
            ws_ping_interval=None,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
        ),
        app,
    ).run()
    # Python's end would look through the objects of all modules first, which takes seconds.
    gc.freeze()


def connection_of(config: ServeConfig) -> type[DeadlinedConnection]:
    """The class of connections under a config, which uvicorn makes by itself."""

    class Connection(DeadlinedConnection):
        head_seconds, send_seconds = config.receive_seconds, config.send_seconds

    return Connection


class DrainingServer(uvicorn.Server):
    """Refuse new work on the first signal, and stop once there is none left or the patience ends.

    Meanwhile the port stays open, so that balancers and late clients read 503 instead of a closed door.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        _log.addFilter(_is_error)
        self._service = app.state.service
        self._deadline = float("inf")

    async def startup(self, *arguments: Any, **options: Any) -> None:
        await super().startup(*arguments, **options)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            _log.warning("serving %s on http://%s:%d, documented at /docs", self._service.vocoder.name, host, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.gate.draining:
            super().handle_exit(sig, frame)
            return
        self._service.gate.draining = True
        self._deadline = time.monotonic() + self._service.config.drain_seconds
        _log.warning("draining: no new work is taken; a second signal stops at once")

    async def on_tick(self, counter: int) -> bool:
        gate = self._service.gate
        if gate.draining and (not gate.busy or time.monotonic() > self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)


def _is_error(record: logging.LogRecord) -> bool:
    return record.getMessage() != _NO_ERROR


class DeadlinedConnection(H11Protocol):
    """Abort clients that open a connection and send no request, or do not take their answer.

    Attributes:
        head_seconds: For the head of a request.
        send_seconds: For a client to take what waits to be sent.
    """

    head_seconds: float
    send_seconds: float
    _head: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Any byte that waits counts: less than the usual limit would wait for ever.
        transport.set_write_buffer_limits(0)
        self._head = self.loop.call_later(self.head_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            # A WebSocket has taken the connection over.
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop("_head")
        elif self._head is None and self.timeout_keep_alive_task is None:
            self._head = self.loop.call_later(self.head_seconds, self.transport.abort)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop("_head")
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop("_sending")
        self._sending = self.loop.call_later(self.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("_sending")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop("_head")
        self._stop("_sending")
        super().connection_lost(exc)

    def _stop(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
