import pytest
import torch
import waveglow_files as files

from waveflow.checkpoints import CheckpointError, convert, load


@pytest.fixture
def source(tmp_path):
    state, _ = files.small_state()
    torch.save(state, tmp_path / "source.pt")
    return tmp_path / "source.pt"


def test_a_destination_that_exists_is_kept_unless_told(tmp_path, source):
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty")
    before = (tmp_path / "empty" / "config.json").read_text()
    with pytest.raises(ValueError, match="--overwrite"):
        convert(source, tmp_path / "empty", sigma=0.1)
    with pytest.raises(ValueError, match="--overwrite"):
        convert(source, source)
    assert (tmp_path / "empty" / "config.json").read_text() == before
    convert(source, tmp_path / "empty", sigma=0.1, overwrite=True)
    assert load(tmp_path / "empty").config.sigma == 0.1


def test_a_failure_leaves_the_checkpoint_that_was_to_be_replaced(tmp_path, source):
    convert(source, tmp_path / "native")
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        convert(source, tmp_path / "native", overwrite=True)
    load(tmp_path / "native")


def test_a_native_checkpoint_or_a_missing_file_is_said_so(tmp_path, source):
    convert(source, tmp_path / "native")
    with pytest.raises(CheckpointError, match="needs no conversion"):
        convert(tmp_path / "native", tmp_path / "again")
    with pytest.raises(CheckpointError, match="No such file"):
        convert(tmp_path / "nowhere.pt", tmp_path / "again")
