import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.data.preprocess import preprocess

CLIPS = sorted(DATA.glob("*/wavs/*.flac"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The manifest of the test clips, all in one split."""
    out = tmp_path_factory.mktemp("corpus")
    return preprocess([DATA / "ljspeech", DATA / "kathleen"], out, validation=0, test=0).manifest


@pytest.fixture
def recordings(tmp_path):
    """A folder of good and bad recordings, and why each of the bad ones is."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rate = 16000
    tone = 0.5 * torch.sin(2 * torch.pi * 300 * torch.arange(rate) / rate)
    for name, level in (("a", 1.0), ("b", 0.5), ("c", 0.25)):
        io.write(folder / f"{name}.wav", level * tone, rate)
    io.write(folder / "surround.wav", torch.stack([tone * k / 8 for k in range(8)]).repeat(1, 3), 48000)
    (folder / "text.wav").write_text("not a sound\n" * 20)
    (folder / "nothing.wav").touch()
    io.write(folder / "silent.wav", torch.zeros(rate), rate)
    io.write(folder / "clipped.wav", 8 * tone, rate)
    io.write(folder / "short.wav", tone[: rate // 4], rate)
    io.write(folder / "again.flac", tone, rate)
    (folder / "notes.txt").write_text("no recording")
    bad = {
        "text": "unreadable",
        "nothing": "empty",
        "silent": "silent",
        "clipped": "clipped",
        "short": "too short",
        "again": "duplicate",
    }
    return folder, bad
