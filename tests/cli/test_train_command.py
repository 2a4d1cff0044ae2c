import json
import shutil

import pytest
from conftest import DATA
from runs import SMALL, write_corpus

import waveflow

TINY = ["model=lapglow", "model_config.n_flows=1", "model_config.n_channels=4", "model_config.dilations=[1]"]
SHORT = [f"train.{name}={SMALL['train'][name]}" for name in ("device", "bf16", "validate_seconds", "listen")]
SHORT += ["train.steps=2", "schedule.warmup=1", "data.segment=4096", "data.batch_size=2", "data.workers=0"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(DATA, tmp_path_factory.mktemp("corpus"))


def test_train_writes_a_model_that_vocodes_and_finetune_starts_from_it(run, corpus, tmp_path):
    out = tmp_path / "run"
    code, stdout, stderr = run("train", "--json", *TINY, *SHORT, f"data.manifest={corpus}", f"train.out={out}")
    assert code == 0, stderr
    assert json.loads(stdout)["model"] == str(out / "model")
    clip = next(DATA.rglob("*.flac"))
    assert run("vocode", clip, "-o", tmp_path / "out.wav", "--model", out / "model")[0] == 0
    tuned = tmp_path / "tuned"
    speech = tmp_path / "speech"
    shutil.copytree(DATA / "ljspeech" / "wavs", speech)
    (speech / "broken.wav").write_text("no sound")
    code, stdout, stderr = run("finetune", "-s", speech, "-o", tuned, "-m", out, "--json", *SHORT)
    assert code == 0, stderr
    assert stderr.count("broken.wav") == 1
    assert json.loads(stdout)["step"] == 2
    assert (tuned / "model" / "config.json").is_file()
    voice = ["-o", tmp_path / "voice", "-m", out / "model", "--adapter", "finetune.rank=1"]
    code, _, stderr = run("finetune", "-s", tuned / "corpus", *voice, *SHORT)
    assert code == 0, stderr
    adapted = waveflow.load(out / "model", adapter=tmp_path / "voice" / "adapter.safetensors", device="cpu")
    assert adapted.name == "model + adapter"


def test_show_prints_all_settings_and_does_nothing(run, tmp_path):
    code, stdout, _ = run("train", "--show", "data.manifest=a", f"train.out={tmp_path / 'run'}", "train.steps=700")
    assert code == 0
    assert "steps: 700" in stdout
    assert "batch_size: 16" in stdout
    assert not (tmp_path / "run").exists()


def test_the_folder_of_a_run_may_be_an_option_and_is_taken_as_it_is(run):
    code, stdout, stderr = run("train", "--show", "data.manifest=a", "-o", "runs/a=b,c")
    assert code == 0, stderr
    assert "out: runs/a=b,c" in stdout
    code, _, stderr = run("train", "--show", "data.manifest=a", "train.out=b", "--out", "c")
    assert code == 2
    assert "both --output c and train.out were given" in stderr


def test_a_wrong_setting_is_a_mistake_of_usage(run):
    code, _, stderr = run("train", "data.manifest=a", "train.out=b", "train.stepz=3")
    assert code == 2
    assert "did you mean 'train.steps'" in stderr


def test_a_folder_of_another_run_ends_with_the_reason(run, corpus, tmp_path):
    given = [*SHORT, f"data.manifest={corpus}", f"train.out={tmp_path / 'run'}"]
    assert run("train", *TINY, *given)[0] == 0
    code, _, stderr = run("train", *TINY, "model_config.n_flows=2", *given)
    assert code == 1
    assert "holds a run of another model" in stderr


def test_a_folder_that_cannot_be_written_ends_with_the_reason(run, corpus, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, stderr = run("train", *TINY, *SHORT, f"data.manifest={corpus}", f"train.out={tmp_path / 'file' / 'run'}")
    assert code == 1
    assert "file" in stderr
