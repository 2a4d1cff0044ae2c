import pytest
import torch

from waveflow.nn.convnet import ConvNet
from waveflow.nn.mlp import MLP, ContextParameter, TimedMLP, softplus_from_one


def test_fresh_networks_give_zero():
    assert not MLP(3, 4)(torch.randn(2, 3)).any()
    assert not TimedMLP(3, 3)(torch.tensor(0.5), torch.randn(2, 3)).any()
    assert not ConvNet(1, 2)(torch.randn(2, 1, 4, 4)).any()


def test_time_changes_the_output_of_a_timed_network():
    network, x = TimedMLP(3, 3), torch.randn(2, 3)
    torch.nn.init.normal_(network.end.weight)
    assert not torch.equal(network(torch.tensor(0.0), x), network(torch.tensor(1.0), x))


def test_parameter_is_one_for_all_without_context_and_one_each_with_it():
    value = torch.randn(2, 3)
    assert ContextParameter(value)(None).shape == (1, 2, 3)
    told = ContextParameter(value, context_channels=4)
    given = told(torch.randn(5, 4))
    assert given.shape == (5, 2, 3)
    assert torch.equal(given, value.expand(5, 2, 3))


@pytest.mark.parametrize("network", [MLP(3, 4, context_channels=2), ConvNet(1, 2, context_channels=2)])
def test_context_of_another_width_is_refused(network):
    x = torch.zeros(2, 3) if isinstance(network, MLP) else torch.zeros(2, 1, 4, 4)
    for context in (None, torch.zeros(2, 5)):
        with pytest.raises(ValueError, match=r"expected features of shape \(B, 2\)"):
            network(x, context)


def test_shifted_softplus_is_one_at_zero():
    raw = torch.tensor([-50.0, 0.0, 50.0], dtype=torch.float64)
    positive = softplus_from_one(raw)
    assert positive[0] > 0
    assert abs(positive[1] - 1) < 1e-12
