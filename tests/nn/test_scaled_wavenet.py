"""FloWaveNet's WaveNet: variance, field, and the halves of the context."""

import pytest
import torch
from tolerances import PADDING

from waveflow.nn.context import Context
from waveflow.nn.scaled_wavenet import ContextHalves, ScaledWaveNet


def largest(difference):
    return difference.abs().max().item()


def network(n_layers=3, context_channels=3):
    net = ScaledWaveNet(2, 4, context_channels=context_channels, n_channels=6, n_layers=n_layers).double()
    torch.nn.init.normal_(net.end.weight)
    return net


def test_receptive_field_is_reached_on_both_sides_and_not_passed():
    net = network()
    x, features = (torch.randn(1, c, 41, dtype=torch.float64) for c in (2, 3))
    before = net(x, Context(features))
    x[..., 20] += 1
    moved = ((net(x, Context(features)) - before).abs().amax((0, 1)) > PADDING).nonzero()
    assert [20 - moved.min(), moved.max() - 20] == [net.receptive_field] * 2 == [8, 8]


def test_padding_reaches_nothing_whatever_is_in_it():
    net = network()
    x, features = (torch.randn(2, c, 12, dtype=torch.float64) for c in (2, 3))
    mask = (torch.arange(12) < torch.tensor([12, 7])[:, None]).double()[:, None]
    found = net(x + 100 * (1 - mask), Context(features, mask))
    assert largest(found[1:, :, :7] - net(x[1:, :, :7], Context(features[1:, :, :7]))) < PADDING


def test_gain_scales_the_output_by_the_exponential_of_three_times_itself():
    net = network()
    x, features = (torch.randn(1, c, 9, dtype=torch.float64) for c in (2, 3))
    before = net(x, Context(features))
    torch.nn.init.constant_(net.gain, 0.2)
    torch.testing.assert_close(net(x, Context(features)), before * torch.tensor(0.6).double().exp())


def test_a_conditioner_is_told_the_halves_it_asks_for_in_its_order():
    x, features = (torch.randn(1, c, 9, dtype=torch.float64) for c in (2, 6))
    first, second = features.chunk(2, dim=1)
    for halves, told in (((0,), first), ((1,), second), ((1, 0), torch.cat([second, first], dim=1))):
        net = network(context_channels=told.shape[1])
        assert torch.equal(ContextHalves(net, *halves)(x, Context(features)), net(x, Context(told)))
        assert ContextHalves(net, *halves).receptive_field == net.receptive_field


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="must be odd"):
        ScaledWaveNet(2, 4, context_channels=3, n_channels=6, n_layers=2, kernel_size=2)
