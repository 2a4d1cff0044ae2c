"""The bundled model on recordings it never heard."""

from pathlib import Path

import pytest
import torch
from conftest import DATA

import waveflow
from waveflow.audio import io
from waveflow.checkpoints.native import read_facts
from waveflow.inference.loading import PRETRAINED, bundled_models
from waveflow.metrics import pesq
from waveflow.models.cost import cost

HELD_OUT = [DATA / "ljspeech" / "wavs" / f"{name}.flac" for name in ("LJ001-0002", "LJ001-0008")]


@pytest.fixture(scope="module")
def vocoder():
    return waveflow.load(device="cpu")


@pytest.fixture(scope="module")
def tiny():
    return waveflow.load("lapglow-tiny", device="cpu")


@pytest.mark.parametrize("model", ["lapglow", "lapglow-tiny"])
@pytest.mark.parametrize("clip", HELD_OUT, ids=lambda path: path.stem)
def test_the_clips_of_these_tests_were_held_out(model, clip):
    held_out = read_facts(PRETRAINED / model)["metadata"]["held_out"]
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


def test_the_tiny_model_brings_a_held_out_recording_back_too(tiny):
    audio, rate = io.read(HELD_OUT[1])
    mel = tiny.mel(audio)
    synthesis = tiny(mel, seed=0)[: len(audio)]
    assert (tiny.mel(synthesis) - mel).abs().mean() < 0.35
    assert pesq(audio, synthesis, rate) > 1.7


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


@pytest.mark.parametrize(("name", "megabytes", "gmac_per_second"), [("lapglow", 24, 1.3), ("lapglow-tiny", 5, 0.25)])
def test_a_bundled_model_keeps_to_its_size(name, megabytes, gmac_per_second):
    assert name in bundled_models()
    assert (PRETRAINED / name / "model.safetensors").stat().st_size <= megabytes * 1e6
    assert cost(waveflow.load(name, device="cpu").model)["gmac_per_second"] <= gmac_per_second
