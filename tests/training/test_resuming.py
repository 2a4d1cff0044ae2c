import errno
import os

import pytest
import torch
from runs import checkpoint_of, interrupt_after, log_of, weights_of

from waveflow.checkpoints import CheckpointError
from waveflow.training import TrainingError
from waveflow.training.state import Checkpoints


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train": {"bf16": True, "reversible": True}, "data": {"workers": 1}},
        {
            "model": "waveglow",
            "model_config": {"n_flows": 2, "n_channels": 4, "n_layers": 1},
            "data": {"segment": 2048},
        },
        {"optimizer": {"name": "muon"}},
    ],
    ids=["plain", "bf16-reversible-worker", "waveglow", "muon"],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits_as_one_that_was_not(small, run, tmp_path, changes):
    changes = {**changes, "train": {"steps": 6, **changes.get("train", {})}}
    whole = small(**changes)
    run(whole)
    parts = small(**changes)
    parts.train.out = str(tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(4, patch)
        outcome, text = run(parts)
    assert (outcome.reason, outcome.step, outcome.model) == ("interrupted", 4, None)
    assert "the same command goes on" in text
    outcome, text = run(parts)
    assert outcome.reason == "finished"
    assert "going on from" in text
    one, other = checkpoint_of(whole.train.out), checkpoint_of(parts.train.out)
    assert torch.equal(weights_of(one), weights_of(other))
    assert {**one, "config": 0}.keys() == {**other, "config": 0}.keys()
    facts = ("step", "usual_norm", "best_loss", "best_bits", "stale", "figures", "first")
    assert [one[k] for k in facts] == [other[k] for k in facts]
    assert [row["nats"] for row in log_of(whole.train.out)] == [row["nats"] for row in log_of(parts.train.out)]


def test_a_finished_run_trains_no_further_and_gives_its_model_again(small, run):
    config = small()
    first, _ = run(config)
    weights = weights_of(checkpoint_of(config.train.out))
    again, _ = run(config)
    assert again == first
    assert torch.equal(weights_of(checkpoint_of(config.train.out)), weights)


def test_what_a_killed_run_began_to_write_is_cleared_away_at_the_next_start(small, run, tmp_path):
    config = small()
    for name in (".best.0a1b2c3d.partial", ".model.0a1b2c3d.partial", ".mine.partial"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "model.safetensors").write_bytes(b"half")
    run(config)
    assert {path.name for path in (tmp_path / "run").glob(".*")} == {".mine.partial"}
    assert (tmp_path / "run" / "best" / "config.json").is_file()


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(small, run, tmp_path):
    config = small()
    run(config)
    expected = weights_of(checkpoint_of(config.train.out))
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    (newest / "state.pt").write_bytes(b"half")
    outcome, text = run(config)
    assert "step-00000006 is damaged" in text
    assert "going on from" in text
    assert outcome.reason == "finished"
    assert torch.equal(weights_of(checkpoint_of(config.train.out)), expected)


def test_a_full_disk_stops_the_run_with_the_checkpoint_before_intact(small, run, monkeypatch, tmp_path):
    config = small()
    save = Checkpoints.save
    write_bytes = type(tmp_path).write_bytes

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    def fills_up(self, state, step, bits=None):
        monkeypatch.setattr(type(tmp_path), "write_bytes", full if step == 4 else write_bytes)
        return save(self, state, step, bits)

    monkeypatch.setattr(Checkpoints, "save", fills_up)
    with pytest.raises(CheckpointError, match="No space left on device"):
        run(config)
    assert checkpoint_of(config.train.out)["step"] == 3


def test_another_model_in_the_same_folder_is_refused_with_the_difference(small, run):
    run(small(train={"steps": 2}))
    with pytest.raises(TrainingError, match=r"n_flows: 2 -> 3.*choose another train\.out"):
        run(small(model_config={"n_flows": 3, "n_channels": 8, "dilations": [1]}, train={"steps": 4}))


def test_a_run_can_be_prolonged_and_says_what_changed(small, run):
    run(small(train={"steps": 4}))
    outcome, text = run(small(train={"steps": 6}, optimizer={"lr": 5e-4}))
    assert outcome.step == 6
    assert "changed since: optimizer.lr: 0.001 -> 0.0005" in text
    assert "changed since: train.steps: 4 -> 6" in text
