"""Streaming over a WebSocket: mel frames in, samples out, before the utterance is complete."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect
from torch import Tensor

from waveflow.serve.batching import Stopped
from waveflow.serve.gate import refuse, why_invalid
from waveflow.serve.service import Refused

if TYPE_CHECKING:
    from waveflow.inference import Stream
    from waveflow.serve.service import Service

# Close codes of RFC 6455, and 1012 and 1013 of its registry.
DONE, AGAINST_THE_RULES, STOPPING = 1000, 1008, 1012
# A stream may be as many times longer than a request.
LONGER = 10


class StreamSettings(BaseModel, extra="forbid"):
    """How to synthesise a stream; the query of the WebSocket's address."""

    format: Literal["pcm", "f32"] = "pcm"
    seed: int | None = Field(None, ge=0, lt=2**64)
    sigma: float | None = Field(None, ge=0, le=10)
    look_ahead: int | None = Field(None, ge=0, le=4096)
    block: int | None = Field(None, ge=1, le=256)


async def speak(service: Service, websocket: WebSocket) -> None:
    """Serve one utterance.

    The client sends binary messages, each of whole frames one after another, n_mels float32 little-endian values
    each; and the text `end`. It gets binary messages of samples, and after the last a text, JSON with `seed`,
    `sample_rate`, `samples` and `look_ahead`. A mistake in them is answered by JSON with `error`, and
    close code 1008; settings against the rules by HTTP 422, before there is a connection.
    """
    try:
        settings = StreamSettings.model_validate(dict(websocket.query_params))
        seed = secrets.randbits(63) if settings.seed is None else settings.seed
        how = {"sigma": settings.sigma, "look_ahead": settings.look_ahead, "block": settings.block}
        stream = service.open_stream(seed=seed, **how)
    except (ValidationError, Refused) as error:
        reason = why_invalid(error.errors()) if isinstance(error, ValidationError) else error.reason
        await websocket.send_denial_response(refuse(422, reason))
        return
    await websocket.accept()
    try:
        n_bytes = await _converse(service, websocket, stream, settings)
        told = {
            "seed": seed,
            "sample_rate": service.vocoder.sample_rate,
            "samples": n_bytes // (4 if settings.format == "f32" else 2),
            "look_ahead": stream.look_ahead,
        }
        await websocket.send_text(json.dumps(told))
        await websocket.close(DONE)
    except Refused as refused:
        await _end(websocket, refused.reason, AGAINST_THE_RULES)
    except Stopped as stopped:
        await _end(websocket, str(stopped), STOPPING)
    except WebSocketDisconnect:
        pass


async def _converse(service: Service, websocket: WebSocket, stream: Stream, settings: StreamSettings) -> int:
    """Take frames and give audio until the client says `end`; the number of bytes given."""
    config = service.config
    mel_config = service.vocoder.config.mel
    left, n_bytes = int(LONGER * config.max_seconds * mel_config.sample_rate / mel_config.hop_length), 0
    while (mel := await _frames(websocket, mel_config.n_mels, config.receive_seconds)) is not None:
        left -= mel.shape[1]
        if left < 0:
            raise Refused(413, f"a stream is at most {LONGER * config.max_seconds:g} s long; open another one")
        async for piece in service.push(stream, mel, settings.format):
            n_bytes += len(piece)
            await _send(websocket, piece, config.send_seconds)
    piece = await service.finish(stream, settings.format)
    await _send(websocket, piece, config.send_seconds)
    return n_bytes + len(piece)


async def _frames(websocket: WebSocket, n_mels: int, patience: float) -> Tensor | None:
    """The next message as a mel `(n_mels, F)`; None where it is `end`."""
    try:
        message: Any = await asyncio.wait_for(websocket.receive(), patience)
    except asyncio.TimeoutError as error:
        raise Refused(408, f"nothing came for {patience:g} s") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", DONE))
    if message.get("text") is not None:
        if message["text"].strip() == "end":
            return None
        raise Refused(400, "the only text is 'end'; frames are binary messages")
    data = message["bytes"]
    if len(data) % (4 * n_mels):
        raise Refused(400, f"a message has {len(data)} bytes, expected whole frames of {n_mels} float32 values")
    return torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, n_mels).T)


async def _send(websocket: WebSocket, data: bytes, patience: float) -> None:
    if not data:
        return
    try:
        await asyncio.wait_for(websocket.send_bytes(data), patience)
    except asyncio.TimeoutError as error:
        raise WebSocketDisconnect(AGAINST_THE_RULES) from error


async def _end(websocket: WebSocket, reason: str, code: int) -> None:
    try:
        await websocket.send_text(json.dumps({"error": reason}))
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        # It went away first.
        pass
