import shutil

import pytest
import torch
from conftest import DATA
from runs import SMALL, log_of

from waveflow.audio.io import write
from waveflow.checkpoints import load
from waveflow.data.manifest import Manifest
from waveflow.training.finetune import finetune_config, speaker_corpus

SHORT = [f"train.{name}={SMALL['train'][name]}" for name in ("device", "bf16", "validate_seconds", "listen")]
SHORT += ["train.steps=4", "train.validate_every=2", "schedule.warmup=1", "data.segment=4096", "data.workers=0"]


@pytest.fixture
def base(small, run):
    return run(small(train={"steps": 2}))[0].model


def test_a_model_adapts_to_a_folder_of_recordings(base, run, tmp_path):
    corpus, report = speaker_corpus(DATA / "kathleen", base, tmp_path / "corpus")
    assert len(report.manifest.entries) == 3
    config = finetune_config(base, corpus, tmp_path / "tuned", overrides=[*SHORT, 'train.trainable=["*.end.*"]'])
    outcome, _ = run(config)
    before, after = load(base).state_dict(), load(outcome.model).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".end." in name}
    assert [row["step"] for row in log_of(tmp_path / "tuned", "held-out")] == [0, 2, 4]


def test_a_model_that_only_gets_worse_is_given_back_as_it_was(base, run, tmp_path):
    corpus, _ = speaker_corpus(DATA / "kathleen", base, tmp_path / "corpus")
    harmful = ["train.patience=1", "optimizer.lr=3e-3", "train.ema=0"]
    outcome, _ = run(finetune_config(base, corpus, tmp_path / "tuned", overrides=[*SHORT, *harmful]))
    held_out = [row["bits"] for row in log_of(tmp_path / "tuned", "held-out")]
    assert held_out[1] > held_out[0] == outcome.bits
    assert outcome.reason == "no improvement"
    before, after = load(base).state_dict(), load(outcome.model).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_few_recordings_are_dealt_until_one_is_held_out(base, tmp_path):
    for path in sorted(DATA.rglob("*.flac"))[:2]:
        (tmp_path / "two").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "two")
    corpus, _ = speaker_corpus(tmp_path / "two", base, tmp_path / "corpus")
    assert sorted(entry.split for entry in Manifest.read(corpus).entries) == ["train", "validation"]


def test_a_single_recording_is_not_enough(base, tmp_path):
    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "clip.wav", 0.1 * torch.randn(40000), 22050)
    with pytest.raises(ValueError, match="1 recordings fit for training, too few to hold one out"):
        speaker_corpus(tmp_path / "one", base, tmp_path / "corpus")


def test_a_corpus_is_taken_as_it_is(base, corpus, tmp_path):
    assert speaker_corpus(corpus, base, tmp_path / "corpus") == (corpus, None)


def test_recordings_are_brought_to_the_rate_of_the_model(base, tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "clips" / f"{name}.wav", 0.1 * torch.randn(48000), 48000)
    corpus, _ = speaker_corpus(tmp_path / "clips", base, tmp_path / "corpus")
    assert {entry.sample_rate for entry in Manifest.read(corpus).entries} == {22050}


def test_several_processes_do_not_write_a_corpus_at_once(base, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="run `waveflow preprocess` on it first"):
        speaker_corpus(DATA / "kathleen", base, tmp_path / "corpus")


def test_paths_with_odd_characters_reach_the_config(base, tmp_path):
    odd = tmp_path / 'a, b = {c} "d" ${e}'
    config = finetune_config(base, odd, odd)
    assert config.data.manifest == config.train.out == str(odd)


def test_a_mistake_in_the_settings_is_found_before_any_work(tmp_path, base):
    with pytest.raises(ValueError, match=r"did you mean 'train\.patience'"):
        finetune_config(base, tmp_path, tmp_path, overrides=["train.pateince=3"])
