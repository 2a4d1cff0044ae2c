"""Models of other packages, by name."""

import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch

import waveflow
from waveflow.audio.mel import MelConfig
from waveflow.checkpoints import CheckpointError, native
from waveflow.models import LapGlow, LapGlowConfig, build, is_registered, model_name, register, registry

MODULE = '''
from dataclasses import dataclass
from waveflow.models import LapGlow, LapGlowConfig, register

@dataclass
class OtherConfig(LapGlowConfig):
    n_flows: int = 1
    n_channels: int = 8
    n_encoded: int = 8

class Other(LapGlow):
    """A model of another package."""

register("other", Other, OtherConfig, **{"other-large": {"n_channels": 16}})
'''


@dataclass
class MineConfig(LapGlowConfig):
    n_flows: int = 1
    n_channels: int = 8
    n_encoded: int = 8


class Mine(LapGlow):
    pass


@pytest.fixture(autouse=True)
def tables():
    before = dict(registry.MODELS), dict(registry.SIZES)
    yield
    for table, was in zip((registry.MODELS, registry.SIZES), before):
        table.clear()
        table.update(was)


def test_a_registered_model_is_built_saved_and_loaded_by_name(tmp_path):
    assert not is_registered("mine")
    register("mine", Mine, MineConfig, **{"mine-large": {"n_channels": 16}})
    register("mine", Mine, MineConfig)
    model = build("mine-large")
    assert model.config.n_channels == 16
    assert model_name(model) == "mine"
    waveflow.Vocoder(model).save(tmp_path / "mine")
    again = waveflow.load(tmp_path / "mine", device="cpu")
    assert type(again.model) is Mine
    mel = torch.full((80, 4), -5.0)
    assert torch.equal(again(mel, seed=0), waveflow.Vocoder(model)(mel, seed=0))


def test_names_that_are_taken_and_configs_without_a_mel_are_refused():
    @dataclass
    class NoSigma:
        mel: MelConfig = field(default_factory=MelConfig)

    for name, sizes in (("lapglow", {}), ("waveglow-64", {}), ("mine", {"lapglow-tiny": {}})):
        with pytest.raises(ValueError, match=r"is called .* already"):
            register(name, Mine, MineConfig, **sizes)
    with pytest.raises(ValueError, match="expected a dataclass with mel and sigma"):
        register("mine", Mine, NoSigma)
    assert not is_registered("mine")


def test_a_checkpoint_of_an_unknown_model_says_that_it_must_be_registered(tmp_path):
    register("mine", Mine, MineConfig)
    native.save(build("mine"), tmp_path / "mine")
    del registry.MODELS["mine"]
    with pytest.raises(CheckpointError, match=r"register it first, by waveflow\.models\.register"):
        native.load(tmp_path / "mine")


def test_the_commands_know_what_the_environment_and_entry_points_name(tmp_path):
    (tmp_path / "other_package.py").write_text(MODULE)
    command = [sys.executable, "-m", "waveflow.cli.main", "info", "other-large", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment | {"WAVEFLOW_MODELS": "othr_package"}
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "WAVEFLOW_MODELS names 'othr_package', which Python does not find" in done.stderr
    for variables in ({"WAVEFLOW_MODELS": "other_package"}, {}):
        done = subprocess.run(command, capture_output=True, text=True, env=environment | variables)
        assert done.returncode == 0, done.stderr
        assert '"model": "other"' in done.stdout
        facts = tmp_path / "other-1.0.dist-info"
        facts.mkdir(exist_ok=True)
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[waveflow.models]\nother = other_package\n")
