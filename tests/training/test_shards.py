import pytest
import torch
from runs import checkpoint_of, interrupt_after, log_of, weights_of

from waveflow.data.manifest import Manifest
from waveflow.data.shards import write_shards


@pytest.fixture
def shards(corpus, tmp_path):
    found, _ = write_shards(Manifest.read(corpus), tmp_path / "shards", megabytes=0.1)
    return found


def test_a_run_on_shards_goes_on_in_the_middle_of_an_epoch_to_the_same_weights(
    small, run, shards, tmp_path, monkeypatch
):
    def config(name):
        data = {"manifest": str(shards.folder), "window": 1, "workers": 1}
        return small(data=data, train={"steps": 4, "validate_every": 4, "out": str(tmp_path / name)})

    run(config("whole"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        assert run(config("parts"))[0].reason == "interrupted"
    run(config("parts"))
    states = [weights_of(checkpoint_of(tmp_path / name)) for name in ("whole", "parts")]
    assert torch.equal(*states)
    assert log_of(tmp_path / "whole", "held-out")


def test_predicted_mels_are_not_for_shards(small, run, shards):
    with pytest.raises(ValueError, match="shards, which hold no predicted mels"):
        run(small(data={"manifest": str(shards.folder), "mels": "somewhere"}))
