"""Every model of the registry through the commands: trained, stopped, gone on with, and vocoding real speech."""

import json

import pytest
from conftest import DATA
from runs import checkpoint_of, interrupt_after, write_corpus

from waveflow.audio import io
from waveflow.models import MODELS

TINY = {
    "waveglow": ["n_flows=2", "n_channels=8", "n_layers=2"],
    "lapglow": ["n_flows=1", "n_channels=8", "dilations=[1]"],
    "squeezewave": ["n_flows=2", "n_channels=8", "n_layers=1"],
    "waveflow": ["n_flows=2", "n_channels=4", "n_layers=2"],
    "flowavenet": ["n_blocks=3", "n_flows=1", "n_channels=8"],
    "wavenode": ["factors=[16,2]", "n_channels=8", "n_layers=2", "solver=euler", "n_steps=1"],
}
SHORT = ["train.steps=2", "train.save_every=1", "train.device=cpu", "train.bf16=false", "train.listen=0"]
SHORT += ["train.validate_seconds=0.3", "train.validate_clips=1", "schedule.warmup=1"]
SHORT += ["data.segment=4096", "data.batch_size=2", "data.workers=0"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(DATA, tmp_path_factory.mktemp("corpus"))


def test_every_model_of_the_registry_is_tried_here():
    assert set(TINY) == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_model_trains_stops_goes_on_and_vocodes(name, run, corpus, tmp_path, monkeypatch):
    out = tmp_path / "run"
    own = [f"model_config.{setting}" for setting in TINY[name]]
    command = ["train", "--json", f"model={name}", *own, *SHORT, f"data.manifest={corpus}", f"train.out={out}"]
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        run(*command)
    assert checkpoint_of(out)["step"] == 1
    assert not (out / "model").exists()
    code, stdout, stderr = run(*command)
    assert code == 0, stderr
    assert json.loads(stdout)["step"] == 2
    clip, _ = io.read(DATA / "ljspeech" / "wavs" / "LJ001-0002.flac")
    io.write(tmp_path / "clip.wav", clip[:8192], 22050)
    code, _, stderr = run("vocode", tmp_path / "clip.wav", "-o", tmp_path / "out.wav", "--model", out / "model")
    assert code == 0, stderr
    assert abs(len(io.read(tmp_path / "out.wav")[0]) - 8192) <= 512


SMALLEST = {
    "waveglow": "waveglow-64",
    "lapglow": "lapglow-tiny",
    "squeezewave": "squeezewave-64s",
    "waveflow": "waveflow-64",
    "flowavenet": "flowavenet",
    "wavenode": "wavenode-64",
}


@pytest.mark.parametrize("name", [SMALLEST[name] for name in MODELS])
def test_info_says_what_a_model_costs_and_how_far_it_sees(name, run):
    code, stdout, stderr = run("info", name, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    assert found["parameters"] > 1e5
    assert found["gmac_per_second"] > 0
    assert found["receptive_field"] > 0
