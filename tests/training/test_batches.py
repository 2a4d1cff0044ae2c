import time

import pytest
import torch
from torch.utils.data import Dataset

from waveflow.models import build
from waveflow.training import TrainingError
from waveflow.training.batches import batches, n_chosen, segments
from waveflow.training.team import Team


def team(rank: int = 0, size: int = 1) -> Team:
    return Team(torch.device("cpu"), rank, size)


@pytest.fixture
def corpus_of(small):
    def make(**changes):
        config = small(**changes)
        return segments(config, build("lapglow", n_flows=1, n_channels=2)), config

    return make


def test_a_batch_depends_on_its_step_alone(corpus_of):
    dataset, config = corpus_of()
    whole = list(batches(dataset, config, team()))
    late = list(batches(dataset, config, team(), first_step=4))
    assert (len(whole), len(late)) == (6, 2)
    for (one,), (other,) in zip(whole[4:], late):
        assert all(torch.equal(a, b) for a, b in zip(one, other))
    assert not torch.equal(whole[0][0].audio, whole[1][0].audio)


def test_reading_processes_change_nothing(corpus_of):
    dataset, config = corpus_of(train={"steps": 3})
    here = list(batches(dataset, config, team()))
    config.data.workers = 2
    for (one,), (other,) in zip(here, batches(dataset, config, team())):
        assert all(torch.equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize(("size", "n_parts"), [(2, 1), (1, 2), (2, 2)])
def test_processes_and_parts_share_the_same_items_and_noise_out(corpus_of, size, n_parts):
    dataset, config = corpus_of(train={"steps": 1}, schedule={"warmup": 0})
    (whole,) = next(batches(dataset, config, team()))
    config.train.accumulate = n_parts
    shares = [part for rank in range(size) for part in next(batches(dataset, config, team(rank, size)))]
    assert len(shares) == size * n_parts
    for field in ("audio", "mel", "uniform"):
        rows = {tuple(row.flatten().tolist()) for row in getattr(whole, field)}
        assert {tuple(row.flatten().tolist()) for part in shares for row in getattr(part, field)} == rows
    synthesised = {
        (tuple(part.audio[i].tolist()), tuple(z.tolist())) for part in shares for i, z in zip(part.chosen, part.latent)
    }
    assert synthesised == {
        (tuple(whole.audio[i].tolist()), tuple(z.tolist())) for i, z in zip(whole.chosen, whole.latent)
    }
    assert len(synthesised) == n_chosen(config) == 2


def test_noise_is_uniform_for_every_item_and_normal_for_the_chosen_ones(corpus_of):
    dataset, config = corpus_of(data={"batch_size": 16}, objective={"spectral_share": 0.25})
    (part,) = next(batches(dataset, config, team()))
    assert part.chosen.tolist() == [0, 1, 2, 3]
    assert part.latent.shape == (4, 4096)
    assert 0 <= part.uniform.min() < 1e-3 < 0.999 < part.uniform.max() < 1
    assert abs(part.uniform.mean() - 0.5) < 0.01
    assert abs(part.latent.std() - 1) < 0.03
    assert len({row[0].item() for row in part.uniform}) == 16


def test_without_a_spectral_loss_nothing_is_synthesised(corpus_of):
    dataset, config = corpus_of(objective={"spectral_weight": 0})
    (part,) = next(batches(dataset, config, team()))
    assert part.latent.shape == (0, 4096)
    assert n_chosen(config) == 0


def test_a_mel_has_as_many_frames_as_the_model_looks_at(corpus_of):
    dataset, config = corpus_of(data={"segment": 5000})
    (part,) = next(batches(dataset, config, team()))
    model = build("lapglow", n_flows=1, n_channels=2)
    assert part.audio.shape[1] == 4864 == 19 * 256
    assert part.mel.shape == (4, 80, 19 + model.frames_ahead)


class _Stuck(Dataset):
    def __getitem__(self, index):
        time.sleep(60)


def test_a_reading_process_that_hangs_is_named_after_the_time_allowed(corpus_of):
    _, config = corpus_of(data={"workers": 1, "timeout": 1})
    with pytest.raises(TrainingError, match=r"gave nothing for 1 s.*data\.workers"):
        next(batches(_Stuck(), config, team()))


class _Broken(Dataset):
    def __getitem__(self, index):
        raise ValueError("clip.wav is damaged")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_recording_that_cannot_be_read_is_named(corpus_of, workers):
    _, config = corpus_of(data={"workers": workers})
    with pytest.raises(ValueError, match=r"clip\.wav is damaged"):
        next(batches(_Broken(), config, team()))
