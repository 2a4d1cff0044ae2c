import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_files import read_mel
from waveflow.cli import inputs
from waveflow.cli.main import COMMANDS, LazyCommands, app
from waveflow.extras import MissingExtra
from waveflow.inference import backends


def test_help_lists_the_commands_and_each_has_an_example(run):
    code, out, _ = run("--help")
    assert code == 0
    listed = [name for name in COMMANDS if f" {name} " in out]
    assert {"vocode", "mel", "score", "info"} <= set(listed)
    for name in listed:
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "Example" in out, name


@pytest.mark.parametrize("command", ["vocode", "tts", "mel", "preprocess", "train", "finetune", "convert", "export"])
def test_where_a_command_writes_is_named_alike_in_all(command):
    parameters = LazyCommands().get_command(None, command).params
    names = next(parameter.opts for parameter in parameters if parameter.name == "output")
    assert names == ["--output", "-o", "--out"]


@pytest.mark.parametrize("command", ["mel", "convert"])
def test_a_convention_of_mels_is_named_alike_in_all(command):
    parameters = LazyCommands().get_command(None, command).params
    assert any({*parameter.opts} == {"--mel", "--preset"} for parameter in parameters)


def test_export_takes_one_place_to_write(run, checkpoint, tmp_path):
    code, _, err = run("export", "-m", checkpoint)
    assert code == 2
    assert "no place to write was given; name a directory, as DIRECTORY or with -o" in err
    code, _, err = run("export", tmp_path / "a", "-m", checkpoint, "--out", tmp_path / "b")
    assert code == 2
    assert f"both {tmp_path / 'a'} and -o {tmp_path / 'b'} name the place to write" in err


@pytest.mark.parametrize("command", ["vocode", "serve", "bench"])
def test_help_names_every_backend(run, command):
    assert inputs.BACKENDS == backends.BACKENDS
    words = run(command, "--help")[1].replace("\u2502", " ").split()
    assert {*backends.BACKENDS} <= {word.strip(",;") for word in words}


def test_every_command_module_is_announced():
    assert isinstance(app.info.cls, type)
    assert issubclass(app.info.cls, LazyCommands)
    from pathlib import Path

    import waveflow.cli as package

    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "main", "inputs", "vocode_stream"} <= set(COMMANDS)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".safetensors"])
def test_mel_writes_what_the_transform_computes(run, clips, tmp_path, suffix):
    code, _, err = run("mel", clips, "-o", tmp_path / "mels", "--preset", "hifigan", "--suffix", suffix)
    assert code == 0, err
    for clip in clips.glob("*.flac"):
        audio = torch.from_numpy(soundfile.read(clip, dtype="float32")[0])
        expected = MelSpectrogram(MelConfig.preset("hifigan"))(audio)
        torch.testing.assert_close(read_mel(tmp_path / "mels" / f"{clip.stem}{suffix}"), expected)


def test_mel_takes_the_contract_of_a_model(run, clips, checkpoint, tmp_path):
    clip = sorted(clips.glob("*.flac"))[0]
    assert run("mel", clip, "-o", tmp_path / "a.npy", "-m", checkpoint)[0] == 0
    assert np.load(tmp_path / "a.npy").shape[0] == 80
    code, _, err = run("mel", clip, "-o", tmp_path / "b.npy", "-m", checkpoint, "--preset", "vocos")
    assert code == 2
    assert "give one" in err


def test_score_prints_a_row_a_file_and_flags_the_odd(run, clips, checkpoint):
    rate = 22050
    soundfile.write(clips / "silent.wav", np.zeros(rate), rate)
    soundfile.write(clips / "clipped.wav", np.sign(np.sin(np.arange(rate) / 20)), rate)
    (clips / "text.wav").write_text("no sound")
    code, out, err = run("score", clips, "-m", checkpoint, "--json")
    assert code == 1
    assert "text.wav" in err
    found = json.loads(out)
    flags = {row["path"].rsplit("/")[-1]: row["flags"] for row in found["files"]}
    assert "silent" in flags["silent.wav"]
    assert "clipped" in flags["clipped.wav"]
    assert len(found["files"]) == 5
    assert list(found["failures"]) == [str(clips / "text.wav")]
    code, out, _ = run("score", clips / "silent.wav", "-m", checkpoint)
    assert code == 0
    assert "bits/sample" in out
    code, out, err = run("score", clips / "text.wav", "-m", checkpoint)
    assert (code, out) == (1, "")
    assert "text.wav" in err


def test_info_describes_checkpoints_and_sizes(run, checkpoint):
    code, out, _ = run("info", checkpoint, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["model"] == "lapglow"
    assert found["config"]["mel"]["n_mels"] == 80
    code, out, _ = run("info", checkpoint)
    assert code == 0
    assert f"{found['receptive_field']} samples" in out
    assert "n_mels: 80" in out
    code, out, _ = run("info", "waveglow-256", "--json")
    assert code == 0
    found = json.loads(out)
    # HiFi-GAN (arXiv:2010.05646) counts 87.73 million.
    assert found["parameters"] == 87_731_816
    assert found["gmac_per_second"] == pytest.approx(223.9, abs=0.1)


def test_the_version_is_the_packages(run):
    import waveflow

    assert run("--version")[1].strip() == waveflow.__version__


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "here/x.wav"), "waveflow: here/x.wav: Permission denied\n"),
        (OSError(28, "cannot write x.wav: the disk is full"), "waveflow: cannot write x.wav: the disk is full\n"),
        (MissingExtra("pesq", "metrics"), "waveflow: the package pesq is not installed; install the extra: "),
    ],
)
def test_what_the_caller_can_mend_is_one_line_and_no_traceback(run, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("waveflow.cli.main.app", fail)
    code, out, err = run("info")
    assert (code, out) == (2, "")
    assert err.startswith(message)


def test_the_package_is_a_command_of_python_too():
    found = subprocess.run([sys.executable, "-m", "waveflow", "info", "--help"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "waveflow info" in found.stdout
