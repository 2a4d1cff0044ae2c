import pytest
import torch

from waveflow.bijections import ActNorm, Affine
from waveflow.nn import Context


def test_first_training_batch_leaves_mean_zero_and_variance_one():
    actnorm = ActNorm(3)
    x = torch.randn(8, 3, 50) * torch.tensor([0.1, 1.0, 20.0])[:, None] + torch.tensor([5.0, 0.0, -3.0])[:, None]
    z, _ = actnorm(x)
    assert z.mean((0, 2)).abs().max() < 1e-4
    assert (z.var((0, 2), unbiased=False) - 1).abs().max() < 1e-4


def test_later_batches_and_evaluation_leave_the_parameters_alone():
    actnorm = ActNorm(2)
    actnorm.eval()(torch.randn(4, 2, 9) + 3)
    assert not actnorm.initialized
    actnorm.train()(torch.randn(4, 2, 9) + 3)
    loc = actnorm.loc.clone()
    actnorm(torch.randn(4, 2, 9) - 7)
    assert torch.equal(actnorm.loc, loc)


def test_padding_does_not_count_in_the_initialisation():
    lengths = torch.tensor([7, 4, 2])
    mask = (torch.arange(7) < lengths[:, None]).float()[:, None]
    x = torch.randn(3, 2, 7) * 3 + 1
    padded, alone = ActNorm(2), ActNorm(2)
    padded(x * mask + 1e3 * (1 - mask), Context(None, mask))
    alone(torch.cat([item[:, :n] for item, n in zip(x, lengths)], dim=1)[None])
    assert torch.allclose(padded.loc, alone.loc, rtol=1e-5)
    assert torch.allclose(padded.scale, alone.scale, rtol=1e-5)


def test_being_initialised_is_part_of_the_state():
    actnorm, copy = ActNorm(2), ActNorm(2)
    actnorm(torch.randn(4, 2, 9) + 3)
    copy.load_state_dict(actnorm.state_dict())
    copy.train()(torch.randn(4, 2, 9) - 7)
    assert torch.equal(copy.loc, actnorm.loc)


def test_scale_may_be_negative():
    actnorm = ActNorm(2).eval()
    with torch.no_grad():
        actnorm.scale.copy_(torch.tensor([-2.0, 0.5]))
    x = torch.randn(3, 2, 4)
    z, log_det = actnorm(x)
    assert torch.allclose(actnorm.inverse(z), x, atol=1e-6)
    assert torch.allclose(log_det, torch.zeros(3), atol=1e-6)


def test_a_flow_trained_through_its_inverse_keeps_what_it_learned():
    actnorm = ActNorm(2)
    x, _ = actnorm.inverse_and_log_det(3 * torch.randn(64, 2) + 5)
    assert x.mean(0).abs().max() < 1e-5
    assert (x.var(0, unbiased=False) - 1).abs().max() < 1e-5
    before = actnorm.scale.clone()
    actnorm(torch.full((2, 2), 5.0))
    assert torch.equal(actnorm.scale, before)


def test_samples_drawn_before_training_initialise_nothing():
    actnorm = ActNorm(2)
    with torch.no_grad():
        actnorm.inverse(torch.randn(64, 2) + 5)
    assert not actnorm.initialized


@pytest.mark.parametrize(
    "x",
    [torch.zeros(0, 2), torch.randn(1, 2), torch.tensor([[0.0, 1.0], [float("nan"), 2.0]])],
    ids=["none", "one", "nan"],
)
def test_a_batch_without_statistics_initialises_nothing(x):
    actnorm = ActNorm(2, correction=1)
    actnorm(x)
    assert not actnorm.initialized
    assert torch.equal(actnorm.scale, torch.ones(2))


def test_a_constant_channel_is_shifted_only():
    actnorm = ActNorm(2)
    z, _ = actnorm(torch.stack([torch.full((9,), 0.1), torch.arange(9.0)], dim=1))
    assert actnorm.scale[0] == 1
    assert z.mean(0).abs().max() < 1e-6


def test_double_precision_is_kept():
    actnorm = ActNorm(2).double()
    z, _ = actnorm(1e8 + torch.randn(1000, 2, dtype=torch.float64))
    assert z.mean(0).abs().max() < 1e-6
    assert (z.var(0, unbiased=False) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("family", [ActNorm, Affine])
def test_data_of_other_channels_is_refused(family):
    bijection = family(3)
    for call in (bijection, bijection.inverse, bijection.inverse_and_log_det):
        with pytest.raises(ValueError, match=r"data has shape \(5, 4\), expected 3 channels"):
            call(torch.zeros(5, 4))
        with pytest.raises(ValueError, match=r"data has shape \(3,\), expected 3 channels"):
            call(torch.zeros(3))
    with pytest.raises(ValueError, match=r"data has shape \(5, 4, 7\)"):
        bijection(torch.zeros(5, 4, 7))
