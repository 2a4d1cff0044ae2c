"""The bundled model on recordings it never heard."""

from pathlib import Path

import pytest
import torch
from conftest import DATA

import waveflow
from waveflow.audio import io
from waveflow.metrics import pesq

HELD_OUT = [DATA / "ljspeech" / "wavs" / f"{name}.flac" for name in ("LJ001-0002", "LJ001-0008")]


@pytest.fixture(scope="module")
def vocoder():
    return waveflow.load(device="cpu")


@pytest.mark.parametrize("clip", HELD_OUT, ids=lambda path: path.stem)
def test_the_clips_of_these_tests_were_held_out(vocoder, clip):
    from waveflow.checkpoints.native import read_facts
    from waveflow.inference.loading import PRETRAINED

    held_out = read_facts(PRETRAINED / "lapglow")["metadata"]["held_out"]
    assert any(Path(line).stem == clip.stem for line in held_out)


@pytest.mark.parametrize("clip", HELD_OUT, ids=lambda path: path.stem)
def test_a_held_out_recording_comes_back_as_itself(vocoder, clip):
    audio, rate = io.read(clip)
    mel = vocoder.mel(audio)
    synthesis = vocoder(mel, seed=0)[: len(audio)]
    assert (vocoder.mel(synthesis) - mel).abs().mean() < 0.3
    assert pesq(audio, synthesis, rate) > 2
    projected = vocoder(mel, seed=0, project=2)[: len(audio)]
    assert (vocoder.mel(projected) - mel).abs().mean() < 0.25
    assert pesq(audio, projected, rate) > 2.4


def test_speech_is_likelier_than_noise_and_than_speech_backwards(vocoder):
    audio, _ = io.read(HELD_OUT[0])
    noise = audio.std() * torch.randn(len(audio))
    assert vocoder.bits_per_sample(audio) < vocoder.bits_per_sample(noise) - 1
    assert vocoder.bits_per_sample(audio) < vocoder.bits_per_sample(audio.flip(0))


def test_silence_stays_silent(vocoder):
    silence = torch.zeros(22050)
    assert vocoder(vocoder.mel(silence), seed=0).abs().max() < 0.01


def test_nothing_is_fetched(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    waveflow.load(device="cpu")


def test_the_model_fits_the_package():
    weights = Path(waveflow.__file__).parent / "pretrained" / "lapglow" / "model.safetensors"
    assert weights.stat().st_size <= 24 * 2**20
