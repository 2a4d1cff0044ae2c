"""Upsampling of the mel by transposed convolutions: lengths, ends and the order of channels."""

import pytest
import torch
from tolerances import PADDING

from waveflow.nn.grouping import group_samples, ungroup_samples
from waveflow.nn.upsample2d import MelUpsample2d, check_factors, two_factors


def largest(difference):
    return difference.abs().max().item()


@pytest.mark.parametrize("factors", [[4, 4], [3, 5], [1, 7], [2, 3, 4], [16]])
def test_a_frame_makes_a_hop_of_samples_whatever_the_factors(factors):
    upsample = MelUpsample2d(factors)
    hop = torch.tensor(factors).prod()
    assert upsample(torch.randn(2, 5, 6)).shape == (2, 5, 6 * hop)


@pytest.mark.parametrize("factors", [[4, 4], [3, 5]])
def test_padded_batch_gives_each_mel_what_it_gives_alone(factors):
    upsample = MelUpsample2d(factors).double()
    hop = factors[0] * factors[1]
    mel, n_frames = torch.randn(3, 5, 6, dtype=torch.float64), [6, 3, 1]
    found = upsample(mel, torch.tensor(n_frames))
    for i, n in enumerate(n_frames):
        assert largest(found[i, :, : n * hop] - upsample(mel[i : i + 1, :, :n])[0]) < PADDING


def test_a_sample_is_told_by_frames_up_to_one_and_a_half_hops_away():
    upsample = MelUpsample2d([4, 4]).double()
    mel = torch.randn(1, 5, 9, dtype=torch.float64)
    before = upsample(mel)
    mel[:, :, 4] += 1
    moved = ((upsample(mel) - before).abs().amax((0, 1)) > PADDING).nonzero()
    middle = 4.5 * 16
    assert middle - 1.5 * 16 - 8 <= moved.min() < middle - 16
    assert middle + 16 < moved.max() <= middle + 1.5 * 16 + 8


def test_grouping_stacks_the_samples_of_a_group_sample_index_fastest():
    features = torch.arange(24.0).view(1, 2, 12)
    grouped = group_samples(features, 4)
    assert grouped.shape == (1, 8, 3)
    assert grouped[0, :, 0].tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    assert torch.equal(ungroup_samples(grouped, 4), features)


def test_unless_given_the_factors_are_the_two_closest_to_each_other():
    assert [two_factors(hop) for hop in (256, 300, 512, 7)] == [[16, 16], [15, 20], [16, 32], [1, 7]]


def test_factors_that_do_not_make_the_hop_are_refused_with_some_that_do():
    with pytest.raises(ValueError, match=r"multiply to 128, expected hop_length=256.*\[16, 16\]"):
        check_factors([8, 16], 256, 16)


def test_a_group_that_does_not_divide_the_hop_is_refused():
    with pytest.raises(ValueError, match="hop_length=300 is no multiple of n_group=16"):
        check_factors(None, 300, 16)
