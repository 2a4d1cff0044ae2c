from pathlib import Path

import pytest

from waveflow.audio import io

SPEECH = Path(__file__).resolve().parents[1] / "data/ljspeech/wavs/LJ001-0002.flac"


@pytest.fixture(scope="session")
def speech_path():
    return SPEECH


@pytest.fixture(scope="session")
def speech():
    """1.9 s of speech, shape `(T,)`, and its rate of 22050 Hz."""
    return io.read(SPEECH)
