import asyncio
import threading
import time

import pytest

from waveflow.inference import Vocoder
from waveflow.serve import ServeConfig, create_app

from .conftest import complaint, npy


class Held:
    """A vocoder whose computations wait until they are let go."""

    def __init__(self, monkeypatch):
        self.go, self.begun, self.done = threading.Event(), threading.Event(), 0
        original = Vocoder.synthesize

        def wait(vocoder, *arguments):
            self.begun.set()
            assert self.go.wait(20)
            self.done += 1
            return original(vocoder, *arguments)

        monkeypatch.setattr(Vocoder, "synthesize", wait)


@pytest.fixture
def held(served, monkeypatch):
    def start(**settings):
        client = served(**settings)
        return client, Held(monkeypatch)

    return start


def in_background(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    return thread, found


def test_a_full_server_answers_429_and_serves_those_it_took(held, mel):
    client, vocoder = held(max_requests=2)
    threads = [in_background(lambda: client.post("/v1/vocode", content=npy(mel))) for _ in range(2)]
    while client.app.state.service.gate._open["http"] < 2:
        time.sleep(0.01)
    refused = client.post("/v1/vocode", content=npy(mel))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/health").status_code == 200
    vocoder.go.set()
    for thread, found in threads:
        thread.join()
        assert found[0].status_code == 200
    assert client.post("/v1/vocode", content=npy(mel)).status_code == 200


def test_work_that_does_not_begin_in_time_is_refused(held, mel):
    client, vocoder = held(wait_seconds=0.2)
    first, found = in_background(lambda: client.post("/v1/vocode", content=npy(mel)))
    assert vocoder.begun.wait(10)
    status, reason = complaint(client.post("/v1/vocode", content=npy(mel)))
    assert status == 429
    assert "did not begin" in reason
    vocoder.go.set()
    first.join()
    assert found[0].status_code == 200
    assert vocoder.done == 1


def test_draining_refuses_new_work_and_finishes_the_old(held, mel):
    client, vocoder = held()
    thread, found = in_background(lambda: client.post("/v1/vocode", content=npy(mel)))
    assert vocoder.begun.wait(10)
    client.app.state.service.gate.draining = True
    assert client.post("/v1/vocode", content=npy(mel)).status_code == 503
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200
    vocoder.go.set()
    thread.join()
    assert found[0].status_code == 200


def test_a_client_that_hangs_up_takes_its_work_out_of_the_queue(vocoder, mel, monkeypatch):
    app = create_app(vocoder, ServeConfig())
    service, body = app.state.service, npy(mel)
    service.start()
    computing = Held(monkeypatch)

    async def call(leaves):
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive():
            found = next(messages, None)
            if found is None:
                await leaves.wait()
                return {"type": "http.disconnect"}
            return found

        async def send(message):
            pass

        scope = {"type": "http", "method": "POST", "path": "/v1/vocode", "headers": [], "query_string": b""}
        await app(scope, receive, send)

    async def main():
        stays, leaves = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(call(stays))
        while not computing.begun.is_set():
            await asyncio.sleep(0.01)
        second = asyncio.create_task(call(leaves))
        while not service.worker.waiting:
            await asyncio.sleep(0.01)
        leaves.set()
        await second
        computing.go.set()
        await first

    asyncio.run(main())
    service.stop()
    assert computing.done == 1
    text = service.metrics.text().decode()
    assert 'waveflow_requests_total{route="/v1/vocode",status="499"} 1.0' in text


def test_the_metrics_count_what_happened(served, mel):
    client = served()
    client.post("/v1/vocode", content=npy(mel))
    client.post("/v1/vocode", content=b"x")
    client.get("/nowhere/1")
    text = client.get("/metrics").text
    assert 'waveflow_requests_total{route="/v1/vocode",status="200"} 1.0' in text
    assert 'waveflow_requests_total{route="/v1/vocode",status="400"} 1.0' in text
    assert 'waveflow_requests_total{route="other",status="404"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert f"waveflow_audio_seconds_total {mel.shape[1] * 256 / 22050}" in text
    assert 'waveflow_requests_open{kind="http"} 0.0' in text
