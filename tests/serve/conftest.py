import io

import numpy as np
import pytest
import soundfile
import torch
from small_models import small

pytest.importorskip("fastapi", reason="needs the extra: pip install 'waveflow[serve]'")

from starlette.testclient import TestClient

from waveflow.inference import Vocoder
from waveflow.serve import ServeConfig, create_app


@pytest.fixture(scope="session")
def vocoder():
    return Vocoder(small("lapglow"), backend="reference", name="small")


@pytest.fixture(scope="session")
def client(vocoder):
    with TestClient(create_app(vocoder, ServeConfig(max_seconds=4.0, max_body_bytes=1 << 20))) as client:
        yield client


@pytest.fixture
def served(vocoder):
    """Start an application with a config of its own: `served(token=...)` is a client of it."""
    clients = []

    def start(**settings):
        client = TestClient(create_app(vocoder, ServeConfig(**settings)))
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def audio():
    t = torch.arange(22050) / 22050
    generator = torch.Generator().manual_seed(0)
    return 0.3 * torch.sin(2 * torch.pi * 220 * t) + 0.01 * torch.randn(22050, generator=generator)


@pytest.fixture(scope="session")
def mel(vocoder, audio):
    return vocoder.mel(audio)


def npy(mel):
    file = io.BytesIO()
    np.save(file, np.asarray(mel))
    return file.getvalue()


def wav(audio, rate=22050, **options):
    file = io.BytesIO()
    soundfile.write(file, np.asarray(audio), rate, **{"format": "WAV", **options})
    return file.getvalue()


def heard(response):
    """The samples of a `f32` answer."""
    assert response.status_code == 200, response.text
    return torch.frombuffer(bytearray(response.content), dtype=torch.float32)


def complaint(response):
    """Status and reason of a refusal."""
    return response.status_code, response.json()["error"]
