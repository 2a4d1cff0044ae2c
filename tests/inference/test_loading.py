import shutil

import pytest
from small_models import small

import waveflow
from waveflow.checkpoints import CheckpointError, load, save
from waveflow.inference.loading import find_checkpoint


@pytest.fixture
def run_folder(tmp_path):
    """What a training run leaves: the best so far, and the model at its end."""
    for name in ("best", "model"):
        save(small("lapglow"), tmp_path / "run" / name)
    return tmp_path / "run"


def test_a_training_run_is_its_model_and_its_best_until_there_is_one(run_folder):
    assert find_checkpoint(run_folder) == run_folder / "model"
    shutil.rmtree(run_folder / "model")
    assert find_checkpoint(run_folder) == run_folder / "best"
    assert waveflow.load(run_folder, device="cpu").config.mel.n_mels == 80


def test_a_checkpoint_that_holds_others_is_itself(run_folder):
    for file in (run_folder / "best").iterdir():
        shutil.copy(file, run_folder)
    assert find_checkpoint(run_folder) == run_folder


def test_who_reads_checkpoints_alone_is_told_where_that_of_a_run_is(run_folder):
    with pytest.raises(CheckpointError, match=r"the model of this training run is in .*run/model: name that"):
        load(run_folder)


def test_a_run_without_a_model_yet_is_told_to_wait_for_its_first_validation(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="or a training run that has been validated"):
        waveflow.load(tmp_path)
