import os
import shutil
import signal

import pytest
import torch
from conftest import DATA
from runs import SMALL, checkpoint_of, interrupt_after, log_of, weights_of

from waveflow.audio.io import write
from waveflow.checkpoints import fingerprint, load, read_adapter, save
from waveflow.checkpoints.native import read_facts
from waveflow.data.manifest import Manifest
from waveflow.inference import load as load_vocoder
from waveflow.models import build
from waveflow.training import TrainingError
from waveflow.training.finetune import finetune_config, speaker_corpus
from waveflow.training.run import Run, build_model
from waveflow.training.validation import validate

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
    harmful = ["train.patience=1", "optimizer.name=adamw", "optimizer.lr=3e-3", "train.ema=0"]
    outcome, text = run(finetune_config(base, corpus, tmp_path / "tuned", overrides=[*SHORT, *harmful]))
    assert f"no validation was better than that of {base}, so these are its weights" in text
    first, then = log_of(tmp_path / "tuned", "held-out")
    assert then["loss"] > first["loss"]
    assert outcome.bits == first["bits"]
    assert outcome.reason == "no improvement"
    before, after = load(base).state_dict(), load(outcome.model).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("nats", "spectral"), [(2.0, 2.1), (0.9, 0.1)], ids=["sounds worse", "less likely"])
def test_a_gain_in_one_figure_at_the_price_of_the_other_is_no_gain(
    base, corpus, run, tmp_path, monkeypatch, nats, spectral
):
    found = iter(({"nats": 1.0, "spectral": 2.0}, {"nats": nats, "spectral": spectral}, {"nats": 1.1, "spectral": 1.9}))

    def validate(*_):
        figures = next(found)
        return {**figures, "bits": -figures["nats"], "loss": 0.3 * figures["spectral"] - figures["nats"]}

    monkeypatch.setattr("waveflow.training.loop.validate", validate)
    outcome, _ = run(finetune_config(base, corpus, tmp_path / "tuned", overrides=SHORT))
    assert outcome.bits == -1.1
    assert read_facts(outcome.model)["metadata"]["training"]["steps"] == 4


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


def test_the_recipe_is_what_the_command_does_without_one(base, tmp_path):
    plain, by_recipe = (finetune_config(base, tmp_path, tmp_path, recipe=recipe) for recipe in (None, "finetune"))
    assert plain == by_recipe


def test_paths_with_odd_characters_reach_the_config(base, tmp_path):
    odd = tmp_path / 'a, b = {c} "d" ${e}'
    config = finetune_config(base, odd, odd)
    assert config.data.manifest == config.train.out == str(odd)


@pytest.mark.parametrize(
    ("name", "option"), [("data.manifest", "speaker"), ("train.out", "output"), ("train.init", "model")]
)
def test_what_an_option_says_is_refused_as_a_setting(base, tmp_path, name, option):
    with pytest.raises(ValueError, match=f"{name} is not a setting here, for --{option} says it"):
        finetune_config(base, tmp_path, tmp_path, overrides=[f"{name}=elsewhere"])


def test_a_run_that_was_stopped_before_its_first_step_goes_on_to_the_same_state(
    base, corpus, run, tmp_path, monkeypatch
):
    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    whole, parts = (finetune_config(base, corpus, tmp_path / name, overrides=SHORT) for name in ("whole", "parts"))
    run(whole)
    with monkeypatch.context() as patch:
        patch.setattr("waveflow.training.loop.validate", stopped)
        assert run(parts)[0].step == 0
    run(parts)
    one, other = checkpoint_of(whole.train.out), checkpoint_of(parts.train.out)
    assert torch.equal(weights_of(one), weights_of(other))
    facts = ("best_loss", "best_bits", "stale", "figures", "first")
    assert [one[k] for k in facts] == [other[k] for k in facts]
    assert [row["step"] for row in log_of(parts.train.out, "held-out")] == [0, 2, 4]


def test_a_mistake_in_the_settings_is_found_before_any_work(tmp_path, base):
    with pytest.raises(ValueError, match=r"did you mean 'train\.patience'"):
        finetune_config(base, tmp_path, tmp_path, overrides=["train.pateince=3"])


@pytest.fixture
def plain_base(tmp_path):
    model = build(SMALL["model"], **SMALL["model_config"])
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return save(model, tmp_path / "base")


def adapter_of(base, corpus, out, *overrides):
    return finetune_config(base, corpus, out, overrides=[*SHORT, "finetune.rank=2", *overrides], adapter=True)


def test_an_adapter_trains_on_top_of_the_base_and_is_merged_into_the_model(plain_base, corpus, run, tmp_path):
    outcome, _ = run(adapter_of(plain_base, corpus, tmp_path / "voice", "train.patience=0"))
    path = tmp_path / "voice" / "adapter.safetensors"
    tensors, facts = read_adapter(path)
    assert any(value.any() for name, value in tensors.items() if name.endswith((".up", ".by")))
    assert facts["base"] == fingerprint(load(plain_base))
    assert facts["metadata"]["training"]["steps"] == 4
    voice, merged = load_vocoder(plain_base, adapter=path).model.state_dict(), load(outcome.model).state_dict()
    assert all(torch.equal(voice[name], merged[name]) for name in voice)
    assert any(not torch.equal(value, merged[name]) for name, value in load(plain_base).state_dict().items())


def figures_of(bits):
    return {"nats": -bits, "bits": bits, "loss": bits}


def test_an_adapter_that_only_gets_worse_changes_nothing(plain_base, corpus, run, tmp_path, monkeypatch):
    worse = iter((7.0, 8.0, 9.0))
    monkeypatch.setattr("waveflow.training.loop.validate", lambda *_: figures_of(next(worse)))
    outcome, _ = run(adapter_of(plain_base, corpus, tmp_path / "voice", "train.patience=1"))
    assert (outcome.reason, outcome.step, outcome.bits) == ("no improvement", 2, 7.0)
    before, after = load(plain_base).state_dict(), load(outcome.model).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_interrupted_adapter_of_the_same_rank_goes_on_to_the_same_file(
    plain_base, corpus, run, tmp_path, monkeypatch
):
    run(adapter_of(plain_base, corpus, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        assert run(adapter_of(plain_base, corpus, tmp_path / "parts"))[0].reason == "interrupted"
    with pytest.raises(TrainingError, match="rank 2 then, 1 now"):
        run(adapter_of(plain_base, corpus, tmp_path / "parts", "finetune.rank=1"))
    run(adapter_of(plain_base, corpus, tmp_path / "parts"))
    whole, parts = (read_adapter(tmp_path / name / "adapter.safetensors")[0] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_reversible_training_of_an_adapter_gives_the_same_file(plain_base, corpus, run, tmp_path):
    # By Adam's own epsilon a gradient of rounding errors makes a whole step, and the two passes round differently.
    steady = "optimizer.eps=1e-2"
    run(adapter_of(plain_base, corpus, tmp_path / "plain", steady))
    run(adapter_of(plain_base, corpus, tmp_path / "reversible", steady, "train.reversible=true"))
    plain, reversible = (read_adapter(tmp_path / n / "adapter.safetensors")[0] for n in ("plain", "reversible"))
    for name in plain:
        torch.testing.assert_close(plain[name], reversible[name], rtol=1e-2, atol=1e-3)
    assert max(value.abs().max() for name, value in plain.items() if name.endswith(".up")) > 5e-3


def test_an_adapter_needs_a_base(small):
    with pytest.raises(ValueError, match=r"give train\.init"):
        build_model(small(finetune={"rank": 2}))


def test_an_adapter_leaves_running_statistics_to_the_base(small):
    model = build("squeezewave-128s", n_flows=1, n_layers=1, n_channels=8)
    run = Run.start(small(finetune={"rank": 1}), model, torch.device("cpu"))
    norms = [module for module in run.model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert norms
    assert not any(norm.training for norm in norms)
