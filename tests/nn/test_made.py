import pytest
import torch

from waveflow.nn.made import MADE


def dependence(made: MADE, context: torch.Tensor | None = None) -> torch.Tensor:
    """Which input, `(D, D * n_inputs)`, each number's parameters depend on."""
    with torch.no_grad():
        for parameter in made.double().parameters():
            parameter.normal_().abs_()
    x = torch.ones(1, made.n_features * made.n_inputs, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: made(x, context)[0].sum(-1), x)
    return jacobian[:, 0] != 0


@pytest.mark.parametrize("context_channels", [0, 2])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_each_number_sees_all_before_it_and_nothing_else(n_layers, context_channels):
    order = [3, 0, 4, 1, 2]
    made = MADE(5, 2, order=order, n_channels=24, n_layers=n_layers, context_channels=context_channels)
    context = torch.ones(1, 2, dtype=torch.float64) if context_channels else None
    seen = dependence(made, context)
    for place, i in enumerate(order):
        assert set(seen[i].nonzero()[:, 0].tolist()) == set(order[:place])


def test_symbols_are_seen_whole():
    seen = dependence(MADE(3, 2, n_inputs=4, n_channels=16))
    assert seen[2].tolist() == [True] * 8 + [False] * 4


def test_first_number_is_told_the_context():
    made = MADE(3, 2, context_channels=2, n_channels=16).double()
    dependence(made, torch.ones(1, 2, dtype=torch.float64))
    x = torch.ones(1, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda c: made(x, c)[0].sum(-1), torch.ones(1, 2).double())
    assert (jacobian != 0).all()


def test_fresh_network_gives_zero():
    assert not MADE(3, 2)(torch.randn(4, 3)).any()


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3]])
def test_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match="permutation of 0 to 2"):
        MADE(3, 2, order=order)


def test_too_few_hidden_units_are_refused():
    with pytest.raises(ValueError, match="take at least 9"):
        MADE(10, 2, n_channels=8)
    with pytest.raises(ValueError, match="take at least 10"):
        MADE(10, 2, n_channels=9, context_channels=1)


def test_vector_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"expected vectors \(B, 3\)"):
        MADE(3, 2)(torch.zeros(2, 4))
