"""The application: routes, settings, and how each kind of complaint is answered."""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, get_args

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from torch import Tensor

from waveflow._version import __version__
from waveflow.inference import Vocoder
from waveflow.models import model_name
from waveflow.serve import page, sockets, sound
from waveflow.serve.batching import Stopped, Utterance
from waveflow.serve.config import ServeConfig
from waveflow.serve.gate import refuse, why_invalid
from waveflow.serve.metrics import CONTENT_TYPE_LATEST
from waveflow.serve.service import Refused, Service

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_MEL = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_BODY = {
    "required": True,
    "description": "A mel under the model's contract, or a recording; told apart by their first bytes.",
    "content": {
        "application/json": {"schema": {"type": "object", "properties": {"mel": _MEL}, "required": ["mel"]}},
        "application/x-npy": _BINARY,
        "application/x-safetensors": _BINARY,
        "audio/wav": _BINARY,
        "audio/flac": _BINARY,
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The audio.", "content": dict.fromkeys(sound.MEDIA_TYPES.values(), _BINARY)},
    400: {"description": "The body is no mel and no recording that the model takes; `error` says why."},
    401: {"description": "The token is missing or wrong."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body, or the audio, is too long."},
    415: {"description": "The body is a form, or packed as by gzip; `error` says what is taken."},
    422: {"description": "A setting is unknown or out of range."},
    429: {"description": "The server is full; `Retry-After` says when to come again."},
    503: {"description": "The server is about to stop."},
}


class Settings(BaseModel, extra="forbid"):
    """How to synthesise."""

    format: sound.Format = Field("wav", description="`pcm` is 16-bit, `f32` float32 little-endian samples, bare.")
    stream: bool = Field(False, description="Send audio as it is computed; `pcm` and `f32` alone.")
    seed: int | None = Field(None, ge=0, lt=2**64, description="Of the noise; fresh unless given, told by `X-Seed`.")
    sigma: float | None = Field(None, ge=0, le=10, description="Standard deviation of the latent; the model's own.")
    denoise: float = Field(0.0, ge=0, le=10, description="Strength of the subtraction of the model's bias.")
    project: int = Field(0, ge=0, le=32, description="Rounds of projection onto the mel.")


def create_app(vocoder: Vocoder, config: ServeConfig | None = None) -> FastAPI:
    """Make the application of a vocoder; `app.state.service` is what it runs on.

    Routes: `POST /v1/vocode`, `WS /v1/stream`, `GET /v1/model`, `/health`, `/ready`, `/metrics`, `/docs`.
    """
    service = Service(vocoder, config or ServeConfig())

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="waveflow",
        version=__version__,
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(service.gate.around)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Stopped, _stopped)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _elsewhere)
    app.get("/docs", include_in_schema=False)(functools.partial(_docs, app))
    app.get("/health", summary="Whether the process lives.")(_health)
    app.get("/ready", summary="Whether new work is taken; 503 where not.")(functools.partial(_ready, service))
    app.get("/metrics", summary="Counters for Prometheus.")(functools.partial(_metrics, service))
    app.get("/v1/model", summary="The model, its mel contract, and the limits.")(functools.partial(_model, service))

    @app.post("/v1/vocode", response_class=Response, responses=_ANSWERS, openapi_extra={"requestBody": _BODY})
    async def vocode(request: Request, settings: Annotated[Settings, Query()]) -> Response:
        """Turn a mel or a recording into speech."""
        return await _vocode(service, request, settings)

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        await sockets.speak(service, websocket)

    app.get("/v1/stream", include_in_schema=False)(_no_socket)
    app.websocket("/{path:path}")(_no_stream)
    return app


async def _vocode(service: Service, request: Request, settings: Settings) -> Response:
    if settings.stream and (settings.format not in sound.BARE or settings.denoise or settings.project):
        raise Refused(422, "a stream has format=pcm or f32, and neither denoise nor project")
    mel, n_samples = await service.understand(await service.receive(request))
    seed = secrets.randbits(63) if settings.seed is None else settings.seed
    told = {
        "X-Seed": str(seed),
        "X-Samples": str(n_samples),
        "X-Sample-Rate": str(sound.rate_of(service.vocoder.sample_rate, settings.format)),
    }
    media_type = sound.MEDIA_TYPES[settings.format]
    if settings.stream:
        body = _pieces(service, mel, n_samples, settings, seed)
        return StreamingResponse(body, headers=told, media_type=media_type)
    utterance = Utterance(mel, seed, settings.sigma, settings.denoise, settings.project)
    audio = await service.compute(utterance, request)
    data = await service.encode(audio[:n_samples], settings.format)
    return Response(data, headers=told, media_type=media_type)


async def _pieces(service: Service, mel: Tensor, n_samples: int, settings: Settings, seed: int) -> AsyncIterator[bytes]:
    stream = service.open_stream(sigma=settings.sigma, seed=seed)
    left = n_samples * (4 if settings.format == "f32" else 2)
    async for piece in service.push(stream, mel, settings.format):
        yield piece[:left]
        left -= len(piece[:left])
    yield (await service.finish(stream, settings.format))[:left]


async def _docs(app: FastAPI) -> Response:
    settings = sockets.StreamSettings.model_json_schema()
    return HTMLResponse(page.page(app.openapi(), settings, inspect.getdoc(sockets.speak) or ""), headers=page.HEADERS)


async def _health() -> dict[str, str]:
    return {"status": "ok"}


async def _ready(service: Service) -> Response:
    return JSONResponse({"status": "ok"}) if service.ready else refuse(503, "the server takes no new work")


async def _metrics(service: Service) -> Response:
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _model(service: Service) -> dict[str, Any]:
    vocoder, config = service.vocoder, asdict(service.config)
    del config["token"]
    return {
        "name": vocoder.name,
        "model": model_name(vocoder.model),
        "backend": vocoder.backend,
        "sample_rate": vocoder.sample_rate,
        "sigma": vocoder.config.sigma,
        "mel": asdict(vocoder.config.mel),
        "formats": get_args(sound.Format),
        "limits": config,
        "waveflow_version": __version__,
    }


async def _no_socket() -> Response:
    reason = "a stream is a WebSocket; a proxy before the server must pass on the headers Upgrade and Connection"
    answer = refuse(426, reason)
    answer.headers["Upgrade"] = "websocket"
    return answer


async def _no_stream(websocket: WebSocket) -> None:
    await websocket.send_denial_response(refuse(404, f"WebSocket {websocket.url.path}: Not Found; expected /v1/stream"))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refuse(error.status, error.reason)


async def _stopped(request: Request, error: Exception) -> Response:
    return refuse(503, str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refuse(422, why_invalid(error.errors()))


async def _elsewhere(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow")
    asked = f"{request.method} {request.url.path}"
    told = f"expected {allowed}" if allowed else "/docs has the routes"
    answer = refuse(error.status_code, f"{asked}: {error.detail}; {told}")
    answer.headers.update(error.headers or {})
    return answer
