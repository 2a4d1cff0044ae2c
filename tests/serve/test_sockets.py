import json

import numpy as np
import pytest
import torch
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from .test_vocode import close


def frames(mel):
    return np.ascontiguousarray(mel.T, "<f4").tobytes()


def speak(client, mel, sizes, query=""):
    """Send a mel in chunks and `end`; the samples and the closing facts."""
    pieces = []
    with client.websocket_connect(f"/v1/stream?format=f32&{query}") as socket:
        start = 0
        for size in sizes:
            socket.send_bytes(frames(mel[:, start : start + size]))
            start += size
        socket.send_bytes(frames(mel[:, start:]))
        socket.send_text("end")
        while "bytes" in (message := socket.receive()):
            pieces.append(message["bytes"])
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1000
    return torch.from_numpy(np.frombuffer(b"".join(pieces), "<f4").copy()), json.loads(message["text"])


@pytest.mark.parametrize("sizes", [[], [1, 2, 40], [33, 0, 7, 7]])
def test_any_chunking_gives_the_offline_audio(client, vocoder, mel, sizes):
    audio, told = speak(client, mel, sizes, "seed=4&sigma=0.6&block=8")
    close(audio, vocoder(mel, seed=4, sigma=0.6))
    assert told == {"seed": 4, "sample_rate": 22050, "samples": len(audio), "look_ahead": told["look_ahead"]}


def test_audio_comes_before_the_mel_is_complete(client, mel):
    with client.websocket_connect("/v1/stream?look_ahead=4&block=8") as socket:
        socket.send_bytes(frames(mel[:, :24]))
        assert len(socket.receive_bytes()) > 0


def test_an_empty_stream_ends_with_no_samples(client, mel):
    audio, told = speak(client, mel[:, :0], [])
    assert len(audio) == told["samples"] == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\0" * 321, "whole frames"),
        (np.full(80, np.nan, "f4").tobytes(), "NaN"),
        (np.full(80, 1e9, "f4").tobytes(), "not those of audio"),
        ("stop", "the only text"),
    ],
)
def test_mistakes_are_told_and_end_the_stream(client, message, reason):
    with client.websocket_connect("/v1/stream") as socket:
        if isinstance(message, str):
            socket.send_text(message)
        else:
            socket.send_bytes(message)
        assert reason in socket.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 1008


@pytest.mark.parametrize("query", ["seed=x", "look_ahead=-1", "format=wav", "blok=8"])
def test_settings_out_of_range_are_refused_before_the_stream(client, query):
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(f"/v1/stream?{query}"):
        pass
    assert refused.value.status_code == 422


@pytest.mark.parametrize("path", ["/v1/strem", "/v1/stream/", "/v1/vocode", "/"])
def test_a_websocket_elsewhere_is_told_where_streams_are(client, path):
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
        pass
    assert refused.value.status_code == 404
    assert refused.value.json() == {"error": f"WebSocket {path}: Not Found; expected /v1/stream"}


def test_tokens_limits_and_draining_hold_for_streams(served):
    client = served(max_streams=1, token="t")
    bearer = {"Authorization": "Bearer t"}

    def refusal(headers):
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/v1/stream", headers=headers):
            pass
        return refused.value.status_code

    assert refusal({}) == 401
    with client.websocket_connect("/v1/stream", headers=bearer):
        assert refusal(bearer) == 429
    client.app.state.service.gate.draining = True
    assert refusal(bearer) == 503


def test_a_stream_that_falls_silent_or_never_ends_is_closed(served, mel):
    client = served(receive_seconds=0.1, max_seconds=0.1)
    with client.websocket_connect("/v1/stream") as socket:
        assert "nothing came" in socket.receive_json()["error"]
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(frames(torch.cat([mel] * 2, dim=1)))
        assert "at most 1 s" in socket.receive_json()["error"]
