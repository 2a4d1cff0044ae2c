import itertools

import numpy as np
import pytest
from torch.utils.data import DataLoader

from waveflow.data.sampling import SegmentSampling, StepSampler

LENGTHS = [30000, 90000, 20000, 60000]
SPEAKERS = ["a", "a", "b", "b"]


def draws(sampling, items):
    return [sampling(item) for item in items]


def test_item_depends_on_seed_and_number_alone():
    sampling = SegmentSampling(LENGTHS, 1000, SPEAKERS, seed=5)
    forward = draws(sampling, range(700))
    other = SegmentSampling(LENGTHS, 1000, SPEAKERS, seed=5)
    assert draws(other, reversed(range(700))) == forward[::-1]
    assert draws(SegmentSampling(LENGTHS, 1000, SPEAKERS, seed=6), range(700)) != forward


def test_items_are_the_same_in_every_version():
    found = SegmentSampling(LENGTHS, 1000, SPEAKERS, seed=1)(1234)
    # What the first version drew: a change here would change the batches of every run that resumes.
    assert found == pytest.approx((0, 0.471236427018319, 0.8453553560357258, 0.5716436409667118), abs=1e-12)


def test_every_epoch_visits_every_part_once():
    sampling = SegmentSampling(LENGTHS, 1000, SPEAKERS)
    assert sampling.epoch_length == 200
    starts = np.cumsum([0, *LENGTHS[:-1]])
    for epoch in range(3):
        found = draws(sampling, range(200 * epoch, 200 * (epoch + 1)))
        points = sorted(starts[r] + place * LENGTHS[r] for r, place, _, _ in found)
        assert [int(point // 1000) for point in points] == list(range(200))


def test_epochs_differ_and_are_shuffled():
    sampling = SegmentSampling(LENGTHS, 1000, SPEAKERS)
    first, second = draws(sampling, range(200)), draws(sampling, range(200, 400))
    assert first != second
    recordings = [recording for recording, *_ in first]
    assert recordings != sorted(recordings)
    assert abs(np.corrcoef(recordings[:-1], recordings[1:])[0, 1]) < 0.2


@pytest.mark.parametrize(("balance", "share"), [(1.0, 0.6), (0.5, 1.5**0.5 / (1 + 1.5**0.5)), (0.0, 0.5)])
def test_speakers_have_their_share(balance, share):
    sampling = SegmentSampling(LENGTHS, 1000, SPEAKERS, balance)
    found = [SPEAKERS[recording] for recording, *_ in draws(sampling, range(2000))]
    assert found.count("a") / 2000 == pytest.approx(share, abs=0.01)


def test_places_and_chances_are_uniform():
    found = np.array(draws(SegmentSampling([10**6], 1000, ["a"]), range(5000)))[:, 1:]
    assert found.min() >= 0
    assert found.max() < 1
    np.testing.assert_allclose(found.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(found.var(0), 1 / 12, atol=0.01)
    assert np.abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.05


def test_steps_share_out_consecutive_items():
    assert list(StepSampler(4, stop=2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    ranks = [list(StepSampler(4, stop=2, rank=rank, world_size=2)) for rank in range(2)]
    assert ranks == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


def test_resumed_steps_are_those_that_were_left():
    whole = list(itertools.islice(StepSampler(6), 10))
    assert list(itertools.islice(StepSampler(6, start=7), 3)) == whole[7:]
    assert len(StepSampler(6, start=7, stop=10)) == 3


def test_endless_sampler_feeds_a_loader():
    batches = iter(DataLoader(range(10**9), batch_sampler=StepSampler(3, start=5), collate_fn=list))
    assert [next(batches), next(batches)] == [[15, 16, 17], [18, 19, 20]]
    with pytest.raises(TypeError, match="no end"):
        len(StepSampler(3))


@pytest.mark.parametrize(("batch_size", "rank", "world_size"), [(5, 0, 2), (4, 2, 2), (0, 0, 1)])
def test_batches_that_cannot_be_shared_out_are_refused(batch_size, rank, world_size):
    with pytest.raises(ValueError, match="cannot be shared out"):
        StepSampler(batch_size, rank=rank, world_size=world_size)
