import pytest
import torch
from torch import nn

from waveflow.bijections import Residual, ResidualFlow
from waveflow.nn.lipschitz import Circle, LipschitzMLP, LipSwish


def wild_network(lipschitz: float = 0.9, n_features: int = 4, size: float = 1.0, activation=LipSwish) -> LipschitzMLP:
    network = LipschitzMLP(n_features, lipschitz, n_channels=12, n_layers=2, activation=activation).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=size)
    return network


@pytest.mark.parametrize("activation", [LipSwish, Circle])
@pytest.mark.parametrize("size", [0.1, 1, 30])
def test_network_contracts_whatever_its_weights(size, activation):
    network = wild_network(0.9, size=size, activation=activation)
    x = 5 * torch.randn(200, 4, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda item: network(item[None])[0]))(x)
    assert torch.linalg.matrix_norm(jacobian, 2).max() <= 0.9


def test_bound_on_the_network_is_nearly_reached():
    # A bound that no network comes near would be safe and useless.
    network = LipschitzMLP(2, 0.9, n_channels=2, n_layers=1).double()
    with torch.no_grad():
        for layer in network.layers:
            layer.parametrizations.weight.original.copy_(10 * torch.eye(2))
            layer.bias.zero_()
    x = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None].expand(-1, 2)
    slope = torch.func.vmap(torch.func.jacrev(lambda item: network(item[None])[0]))(x)[:, 0, 0]
    assert slope.abs().max() > 0.85


def test_activation_has_slope_at_most_one():
    activation = LipSwish().double()
    x = torch.linspace(-20, 20, 20001, dtype=torch.float64, requires_grad=True)
    for raw in (-5.0, 0.0, 5.0):
        activation.raw.data.fill_(raw)
        (slope,) = torch.autograd.grad(activation(x).sum(), x)
        assert slope.abs().max() <= 1


def test_circle_keeps_the_length_of_every_way_along_it():
    circle = Circle(2.5).double()
    circle.raw.data.fill_(0.7)
    x = 5 * torch.randn(50, 3, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda item: circle(item[None])[0]))(x)
    assert torch.allclose(torch.linalg.svdvals(jacobian), torch.ones(50, 3, dtype=torch.float64))


def test_estimate_is_unbiased():
    residual = Residual(wild_network(0.7), exact=False, n_terms=2)
    exact = Residual(residual.network, exact=True)
    x = torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        # The number of terms is drawn once a call, the signs once an item.
        draws = torch.stack([residual(x.expand(30, 4))[1].mean() for _ in range(100)])
        expected = exact(x)[1][0]
    standard_error = draws.std() / len(draws) ** 0.5
    assert abs(expected) > 20 * standard_error
    assert abs(draws.mean() - expected) < 4 * standard_error


def test_gradient_of_the_estimate_is_unbiased():
    residual = Residual(wild_network(0.6), exact=False, n_terms=3)
    x = torch.randn(1, 4, dtype=torch.float64)
    weight = residual.network.layers[0].parametrizations.weight.original
    draws = torch.stack([torch.autograd.grad(residual(x.expand(30, 4))[1].mean(), weight)[0] for _ in range(100)])
    (expected,) = torch.autograd.grad(Residual(residual.network, exact=True)(x)[1].sum(), weight)
    off = (draws.mean(0) - expected).abs() / (draws.std(0) / len(draws) ** 0.5)
    # The largest of 48 deviations; five standard errors happen to none in a hundred thousand.
    assert off.max() < 5


def test_large_data_are_estimated_and_small_data_are_exact():
    small, large = Residual(wild_network(n_features=16)), Residual(wild_network(n_features=17))
    x = torch.randn(1, 17, dtype=torch.float64)
    assert small(x[:, :16])[1] == small(x[:, :16])[1]
    assert large(x)[1] != large(x)[1]


def test_network_that_does_not_contract_is_refused():
    network = nn.Linear(2, 2)
    network.lipschitz = 1.0
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        Residual(network)


def test_flow_starts_from_the_data_it_is_given():
    flow = ResidualFlow(2, 2).train()
    x = 5 + 3 * torch.randn(500, 2)
    flow(x)
    assert (flow.steps[0](x)[0].mean(0)).abs().max() < 1e-3
