"""A real server: deadlines of connections, and the end of the process."""

import gc
import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from waveflow.checkpoints import native
from waveflow.serve import ServeConfig, create_app
from waveflow.serve.run import DrainingServer, connection_of, run

from .conftest import npy
from .test_vocode import close

LONG = 60


@pytest.fixture
def port(vocoder):
    """Of a server in a thread, with short deadlines."""
    with serving(vocoder, receive_seconds=0.3, send_seconds=0.3) as port:
        yield port


@contextmanager
def serving(vocoder, **settings):
    app = create_app(vocoder, ServeConfig(**settings))
    config = uvicorn.Config(app, port=0, http=connection_of(app.state.service.config), log_level="error")
    server = DrainingServer(config, app)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def closed(connection):
    """Whether the server ends a connection."""
    connection.settimeout(10)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("head", [b"", b"POST /v1/vocode HT"])
def test_a_connection_without_a_request_is_closed(port, head):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head)
        assert closed(connection)


def test_a_body_that_stalls_is_answered_408_and_closed(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        connection.settimeout(10)
        assert b" 408 " in connection.recv(1 << 16)
        assert closed(connection)


def test_a_client_that_does_not_read_is_cut_off(port):
    mel = npy(np.full((80, 5000), -5, "f4"))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        head = f"POST /v1/vocode?format=f32 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(mel)}\r\n\r\n"
        connection.sendall(head.encode() + mel)
        deadline = time.monotonic() + LONG
        while open_requests(port) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        while open_requests(port) > 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.6)
        received = 0
        connection.settimeout(10)
        try:
            while data := connection.recv(1 << 20):
                received += len(data)
        except ConnectionResetError:
            pass
        assert received < 5000 * 256 * 4


def test_a_stream_may_last_longer_than_its_request_may_take_to_arrive(vocoder, mel):
    with serving(vocoder, receive_seconds=1.0) as port, connect(f"ws://127.0.0.1:{port}/v1/stream") as stream:
        begun = time.monotonic()
        while time.monotonic() < begun + 2:
            stream.send(b"")
            time.sleep(0.02)
        stream.send(np.ascontiguousarray(mel.T, "<f4").tobytes())
        stream.send("end")
        *_, told = stream
    assert json.loads(told)["samples"] == mel.shape[1] * 256


def test_a_refused_websocket_is_no_error_in_the_log(port):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("uvicorn.error").addHandler(handler)
    try:
        for query, status in (("sigma=99", 422), ("nonsense=1", 422)):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{port}/v1/stream?{query}")
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body)["error"].startswith(query.partition("=")[0])
        time.sleep(0.2)
    finally:
        logging.getLogger("uvicorn.error").removeHandler(handler)
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []


def test_head_is_answered_as_get_without_a_body(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in ("/health", "/ready", "/v1/model", "/openapi.json", "/nowhere"):
        told = []
        for method in ("HEAD", "GET"):
            connection.request(method, path)
            answer = connection.getresponse()
            told.append((answer.status, answer.headers["content-length"]))
            assert (len(answer.read()) > 0) == (method == "GET")
        assert told[0][0] == told[1][0] == (404 if path == "/nowhere" else 200)
        assert path == "/nowhere" or told[0] == told[1]
    connection.close()


def test_no_pong_is_waited_for(vocoder, monkeypatch):
    # It would wait behind the frames that the client has sent, until they are computed.
    configs = []
    monkeypatch.setattr(DrainingServer, "run", lambda self: configs.append(self.config))
    try:
        run(create_app(vocoder), "127.0.0.1", 0)
    finally:
        gc.unfreeze()
    assert configs[0].ws_ping_interval is None


def test_the_end_of_the_process_looks_through_no_objects(vocoder, monkeypatch):
    monkeypatch.setattr(DrainingServer, "run", lambda self: None)
    try:
        run(create_app(vocoder), "127.0.0.1", 0)
        assert gc.get_freeze_count() > 10000
    finally:
        gc.unfreeze()


def open_requests(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return float(re.search(r'requests_open{kind="http"} (\S+)', answer.read().decode())[1])


@pytest.fixture
def process(vocoder, tmp_path):
    native.save(vocoder.model, tmp_path / "small")
    command = [sys.executable, "-m", "waveflow.cli.main", "serve", "--port", "0", "--backend", "reference"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WAVEFLOW_TOKEN": "abc"}
    server = subprocess.Popen(
        [*command, "-m", tmp_path / "small", "--batch-window-ms", "500"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    for line in server.stderr:
        if found := re.search(r"serving small on (http://127.0.0.1:\d+)", line):
            break
    else:
        pytest.fail("the server did not start")
    yield server, found[1]
    server.kill()
    server.wait()
    server.stderr.close()


def post(url, body, token="abc"):
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body, headers, method="POST" if body else "GET")
    try:
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def samples(data):
    return torch.from_numpy(np.frombuffer(data, "<f4").copy())


def test_sigterm_finishes_the_work_at_hand_refuses_new_work_and_ends_with_zero(process, vocoder, mel):
    server, url = process
    assert post(url + "/v1/vocode", npy(mel), token="abd")[0] == 401
    body = npy(mel.repeat(1, 10))
    with (
        ThreadPoolExecutor(4) as pool,
        connect(
            url.replace("http", "ws") + "/v1/stream?seed=2&format=f32",
            additional_headers={"Authorization": "Bearer abc"},
        ) as stream,
    ):
        stream.send(np.ascontiguousarray(mel.T, "<f4").tobytes())
        answers = [pool.submit(post, f"{url}/v1/vocode?format=f32&seed={seed}", body) for seed in range(3)]
        while b'requests_open{kind="http"} 3.0' not in post(url + "/metrics", None)[1]:
            time.sleep(0.02)
        server.send_signal(signal.SIGTERM)
        while post(url + "/ready", None)[0] != 503:
            time.sleep(0.02)
        status, reason = post(url + "/v1/vocode", npy(mel))
        assert status == 503
        assert "about to stop" in json.loads(reason)["error"]
        stream.send("end")
        pieces = list(stream)
        for seed, answer in enumerate(answers):
            status, data = answer.result()
            assert status == 200
            close(samples(data), vocoder(mel.repeat(1, 10), seed=seed))
    assert json.loads(pieces[-1])["samples"] == mel.shape[1] * 256
    close(samples(b"".join(pieces[:-1])), vocoder(mel, seed=2))
    assert server.wait(LONG) == 0
