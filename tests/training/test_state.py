import errno
import os
from pathlib import Path

import pytest
import torch

from waveflow.checkpoints import CheckpointError
from waveflow.training.state import Checkpoints


def state(value: float) -> dict:
    return {"step": int(value), "model": {"weight": torch.full((4,), value)}, "note": None}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", keep=2)
    assert checkpoints.load(print) is None
    path = checkpoints.save(state(3.0), 3)
    found, loaded = checkpoints.load(pytest.fail)
    assert found == path == checkpoints.newest()
    assert torch.equal(loaded["model"]["weight"], torch.full((4,), 3.0))
    assert loaded["note"] is None


def test_the_newest_stay_and_the_one_with_the_fewest_bits(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, bits in ((1, 9.0), (2, 7.5), (3, None), (4, 8.0), (5, 8.5)):
        checkpoints.save(state(step), step, bits)
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]
    checkpoints.save(state(6), 6, 7.0)
    assert names(tmp_path) == ["step-00000005", "step-00000006"]


def test_without_validations_only_the_newest_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in range(1, 4):
        checkpoints.save(state(step), step)
    assert names(tmp_path) == ["step-00000003"]


def flip_a_bit(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip_a_bit(path / "state.pt"),
        lambda path: (path / "state.pt").write_bytes((path / "state.pt").read_bytes()[:100]),
        lambda path: (path / "state.pt").unlink(),
        lambda path: (path / "state.json").write_text("{"),
        lambda path: (path / "state.json").write_text("[]"),
    ],
    ids=["bit", "truncated", "missing", "half-facts", "no-facts"],
)
def test_a_damaged_newest_falls_back_to_the_one_before_with_a_message(tmp_path, damage):
    checkpoints, said = Checkpoints(tmp_path, keep=2), []
    for step in (1, 2):
        checkpoints.save(state(step), step)
    damage(tmp_path / "step-00000002")
    path, loaded = checkpoints.load(said.append)
    assert loaded["step"] == 1
    assert path.name == "step-00000001"
    assert "step-00000002 is damaged" in said[0]
    assert names(tmp_path) == ["damaged-step-00000002", "step-00000001"]


def test_where_all_are_damaged_the_run_is_not_started_anew_silently(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(state(1), 1)
    flip_a_bit(tmp_path / "step-00000001" / "state.pt")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints .* can be read"):
        checkpoints.load(lambda _: None)


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before_intact(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(state(1), 1)

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(CheckpointError, match=r"No space left on device.*free some space"):
            checkpoints.save(state(2), 2)
    assert names(tmp_path) == ["step-00000001"]
    assert checkpoints.load(pytest.fail)[1]["step"] == 1


def test_what_a_killed_process_left_half_written_is_ignored_and_then_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(state(1), 1)
    (tmp_path / ".step-00000002.0123abcd.partial").mkdir()
    assert checkpoints.load(pytest.fail)[1]["step"] == 1
    checkpoints.save(state(2), 2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_checkpoint_of_another_version_is_refused_and_not_taken_for_damaged(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    facts = checkpoints.save(state(1), 1) / "state.json"
    facts.write_text(facts.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(CheckpointError, match=r"format_version 2.*reads 1"):
        checkpoints.load(pytest.fail)
    assert names(tmp_path) == ["step-00000001"]
