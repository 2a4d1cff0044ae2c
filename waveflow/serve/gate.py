"""The door of the server: who may come in, and how many at a time."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waveflow.serve.config import ServeConfig
from waveflow.serve.metrics import Metrics

# Known to balancers and browsers, which send no token; none of them tells of a client's work.
OPEN = ("/health", "/ready", "/docs", "/openapi.json")
ROUTES = (*OPEN, "/metrics", "/v1/model", "/v1/vocode", "/v1/stream")
RETRY_SECONDS = 1


class Gate:
    """ASGI middleware: the token, 503 while draining, 429 when full, and a count of what was answered.

    Args:
        config: The limits.
        metrics: The counters.

    Attributes:
        draining: Whether new work is refused, since the server is about to stop.
    """

    app: ASGIApp

    def __init__(self, config: ServeConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self.draining = False
        self._open = {"http": 0, "websocket": 0}

    def around(self, app: ASGIApp) -> Gate:
        """Stand before an application."""
        self.app = app
        return self

    @property
    def busy(self) -> bool:
        """Whether work is being done for a client."""
        return any(self._open.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope.get("method") == "HEAD":
            # The same but for the body, which the protocol leaves out.
            scope = {**scope, "method": "GET"}
        route = scope["path"] if scope["path"] in ROUTES else "other"
        works = route.startswith("/v1/") and route != "/v1/model"
        refusal = None if route in OPEN else self._refusal(scope, kind, works)
        status, start = 500, time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        self._count(kind, works, 1)
        try:
            await (refusal or self.app)(scope, receive, watched)
        finally:
            self._count(kind, works, -1)
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - start)

    def _count(self, kind: str, works: bool, change: int) -> None:
        if works:
            self._open[kind] += change
            self.metrics.open.labels(kind).set(self._open[kind])

    def _refusal(self, scope: Scope, kind: str, works: bool) -> JSONResponse | None:
        if not self._knows(scope):
            return refuse(401, "a token is needed: send it as 'Authorization: Bearer TOKEN'")
        if not works:
            return None
        if self.draining:
            return refuse(503, "the server is about to stop; ask another one")
        limit = self.config.max_requests if kind == "http" else self.config.max_streams
        if self._open[kind] >= limit:
            return refuse(429, f"{limit} {'requests' if kind == 'http' else 'streams'} are open; come again later")
        return None

    def _knows(self, scope: Scope) -> bool:
        if self.config.token is None:
            return True
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = sent.partition(b" ")
        # Compared whatever the scheme, in the same time for any token.
        same = hmac.compare_digest(token.strip(), self.config.token.encode())
        return same and scheme.lower() == b"bearer"


def refuse(status: int, reason: str) -> JSONResponse:
    """An answer that says why not, and when to come again where that helps."""
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status in (401, 408, 413, 415, 429, 503):
        # What is left of the body is not waited for.
        headers["Connection"] = "close"
    return JSONResponse({"error": reason}, status, headers)


def why_invalid(errors: Iterable[Any]) -> str:
    """What pydantic found, in one line."""
    return "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in errors)
