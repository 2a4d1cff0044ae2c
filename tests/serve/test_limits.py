import gzip
import io

import numpy as np
import pytest
import torch
from safetensors.torch import save

from waveflow.inference import Vocoder
from waveflow.serve import ServeConfig
from waveflow.serve.bodies import TooLarge, read_body

from .conftest import complaint, npy, wav


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"hello there", "neither a mel nor a recording"),
        (gzip.compress(b"hello there"), "packed by gzip"),
        (b"{", "the JSON is damaged"),
        (b'{"audio": []}', "holds no mel"),
        (b'{"mel": [[1, 2], [3]]}', "differ in length"),
        (b'{"mel": [["a"]]}', "other things than numbers"),
        (b"[" * 100000, "the JSON is damaged"),
        (b'{"mel": [[' + b"9" * 5000 + b"]]}", "the JSON is damaged"),
        (b'{"mel": [[1, 2]], "seed": 1}', "'seed' beside the mel"),
        (b"RIFF\0\0\0\0WAVEfmt ", "no sound file"),
        (b"\x93NUMPY\x01\x00\x05\x00{oops", "header is damaged"),
        (b'\x09\0\0\0\0\0\0\0{"mel": 1}', "safetensors is damaged"),
        (npy(np.zeros((79, 9), "f4")), "79 bands"),
        (npy(np.zeros((9, 80), "f4")), "transposed"),
        (npy(np.zeros((80, 0), "f4")), "no frames"),
        (npy(np.zeros((2, 80, 9), "f4")), "one by one"),
        (npy(np.full((80, 9), np.nan)), "NaN"),
        (npy(np.full((80, 9), 1e30)), "not those of audio"),
        (npy(np.zeros((80, 9), "c8")), "expected float16"),
        (save({"mel": torch.zeros(80, 9, dtype=torch.int32)}), "torch.int32"),
        (save({"a": torch.zeros(80, 9), "b": torch.zeros(80, 9)}), "2 tensors"),
        (wav(np.zeros((100, 9))), "9 channels"),
        (wav(np.zeros(100), rate=1000), "1000 Hz"),
        (wav(np.zeros(100)), "100 samples, expected at least"),
    ],
)
def test_bad_bodies_are_refused_with_the_reason(client, body, reason):
    status, found = complaint(client.post("/v1/vocode", content=body))
    assert status == 400
    assert reason in found


def test_forms_and_packed_bodies_are_refused_with_what_is_taken(client, mel):
    form = client.post("/v1/vocode", files={"file": ("mel.npy", npy(mel))})
    packed = client.post("/v1/vocode", content=gzip.compress(npy(mel)), headers={"Content-Encoding": "gzip"})
    for answer, what in ((form, "a form (multipart/form-data); send the file alone"), (packed, "packed by gzip")):
        status, reason = complaint(answer)
        assert status == 415
        assert what in reason
        assert "expected a mel (.npy, .safetensors or JSON) or a recording" in reason
    plain = client.post("/v1/vocode", content=npy(mel), headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


def test_curls_own_content_type_is_taken(client, mel):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/v1/vocode", content=npy(mel), headers=headers).status_code == 200


def test_a_mel_of_another_convention_is_named(client, mel):
    long = torch.cat([mel] * 2, dim=1) / np.log(10) * 20
    _, found = complaint(client.post("/v1/vocode", content=npy(long)))
    assert "It looks like" in found


def test_pickles_are_never_loaded(client):
    with pytest.raises(TypeError, match="pickled"):
        np.load(io.BytesIO(npy(np.array([Bomb()], dtype=object))), allow_pickle=True)
    status, found = complaint(client.post("/v1/vocode", content=npy(np.array([Bomb()], dtype=object))))
    assert status == 400
    assert "holds object" in found


class Bomb:
    def __reduce__(self):
        return (_explode, ())


def _explode():
    raise TypeError("pickled code ran")


def test_a_header_that_promises_more_than_follows_allocates_nothing(vocoder):
    body = npy(np.zeros((80, 10), "f4")).replace(b"(80, 10)", b"(80, 99999999999)".ljust(8))
    with pytest.raises(ValueError, match="header"):
        read_body(body, vocoder.config.mel, 60.0)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("seed=-1", "seed"),
        ("seed=18446744073709551616", "seed"),
        ("sigma=nan", "sigma"),
        ("sigma=1e9", "sigma"),
        ("project=1000", "project"),
        ("format=mp3", "format"),
        ("sead=1", "sead"),
        ("format=wav&stream=true", "a stream has"),
        ("format=pcm&stream=true&project=1", "a stream has"),
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(client, mel, query, reason):
    status, found = complaint(client.post(f"/v1/vocode?{query}", content=npy(mel)))
    assert status == 422
    assert reason in found


def test_bodies_and_audio_that_are_too_long_are_refused(client, mel, audio):
    limit = 1 << 20
    assert complaint(client.post("/v1/vocode", content=bytes(limit + 1)))[0] == 413
    chunks = (bytes(1 << 16) for _ in range(17))
    assert complaint(client.post("/v1/vocode", content=chunks))[0] == 413
    assert complaint(client.post("/v1/vocode", content=npy(torch.cat([mel] * 5, dim=1))))[0] == 413
    silence = wav(np.zeros(22050 * 600), format="FLAC")
    assert len(silence) < limit
    assert complaint(client.post("/v1/vocode", content=silence))[0] == 413
    with pytest.raises(TooLarge):
        read_body(wav(torch.cat([audio] * 2)), client.app.state.service.vocoder.config.mel, 1.5)


def test_audio_that_is_not_finite_is_refused(served, vocoder, mel, monkeypatch):
    monkeypatch.setattr(Vocoder, "__call__", lambda self, mel, **_: torch.full((mel.shape[-1] * 256,), torch.nan))
    client = served()
    for file_format in ("wav", "pcm", "f32", "opus"):
        status, reason = complaint(client.post("/v1/vocode", params={"format": file_format}, content=npy(mel)))
        assert status == 400
        assert "NaN" in reason


def test_no_path_of_the_server_is_readable(client, mel):
    for path in ("/etc/passwd", "/../etc/passwd", "/v1/../../etc/passwd", "/static/app.py", "/%2e%2e/etc/passwd"):
        assert client.get(path).status_code == 404
    for body in (b"/etc/passwd", b'{"mel": "/etc/passwd"}', b"file:///etc/passwd"):
        response = client.post("/v1/vocode", content=body)
        assert response.status_code == 400
        assert "root:" not in response.text
    assert client.get("/v1/vocode").status_code == 405


def test_what_does_not_exist_is_refused_like_everything_else(client):
    status, reason = complaint(client.get("/nonsense"))
    assert (status, reason) == (404, "GET /nonsense: Not Found; /docs has the routes")
    response = client.get("/v1/vocode")
    assert complaint(response) == (405, "GET /v1/vocode: Method Not Allowed; expected POST")
    assert response.headers["allow"] == "POST"
    # No redirect, whose body curl would write as the audio.
    assert complaint(client.post("/v1/vocode/", content=b"x", follow_redirects=False))[0] == 404
    response = client.get("/v1/stream")
    assert (complaint(response)[0], response.headers["upgrade"]) == (426, "websocket")


def test_the_token_is_asked_for_and_never_shown(served, mel):
    client = served(token="secret-1")
    for header in ({}, {"Authorization": "Bearer secret-2"}, {"Authorization": "Basic secret-1"}):
        for answer in (
            client.post("/v1/vocode", content=npy(mel), headers=header),
            client.get("/metrics", headers=header),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    bearer = {"Authorization": "Bearer secret-1"}
    assert client.post("/v1/vocode", content=npy(mel), headers=bearer).status_code == 200
    assert client.post("/v1/vocode", content=npy(mel), headers={"Authorization": b"Bearer \xff\xfe"}).status_code == 401
    assert "secret-1" not in client.get("/v1/model", headers=bearer).text
    assert "secret-1" not in repr(client.app.state.service.config)
    assert {client.get(path).status_code for path in ("/health", "/ready", "/docs", "/openapi.json")} == {200}


@pytest.mark.parametrize(
    ("name", "value"), [("max_requests", 0), ("token", ""), ("token", "a b"), ("max_seconds", float("nan"))]
)
def test_impossible_configs_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        ServeConfig(**{name: value})
