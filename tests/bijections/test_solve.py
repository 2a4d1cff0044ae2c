import pytest
import torch

from waveflow.bijections.solve import invert_contraction, invert_monotone, tolerance_of


def cubic(x):
    return x + x**3, 1 + 3 * x.square()


def nearly_flat(x):
    # A slope of a thousandth almost everywhere, and a cliff at 3.
    return 1e-3 * x + torch.tanh(100 * (x - 3)), 1e-3 + 100 * (1 - torch.tanh(100 * (x - 3)).square())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("function", [cubic, nearly_flat])
def test_monotone_solution_keeps_the_stated_tolerance(function, dtype):
    x = torch.linspace(-9, 9, 101, dtype=dtype)
    target = function(x.double())[0].to(dtype)
    found = invert_monotone(function, target, torch.full_like(x, -10), torch.full_like(x, 11))
    # Where the function is nearly flat the target's own rounding moves the solution by its size over the slope.
    rounding = torch.finfo(dtype).eps * 2 / function(x.double())[1]
    assert ((found - x).abs() <= 2 * tolerance_of(dtype) * (1 + x.abs()) + 2 * rounding).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_monotone_solution_stays_in_its_bracket_where_the_slope_underflows(dtype):
    def plateau(x):
        # Beyond 1 it rises steeply, between -1 and 1 by less than any number tells.
        return x.sign() * torch.relu(x.abs() - 1) * 1e4, torch.where(x.abs() > 1, 1e4, 0.0).to(x.dtype)

    target = torch.tensor([0.0, 1e-30, -1e-30, 5.0], dtype=dtype)
    found = invert_monotone(plateau, target, torch.full_like(target, -10), torch.full_like(target, 10))
    assert found.isfinite().all()
    assert (found.abs() <= 10).all()
    assert (plateau(found)[0] - target).abs().max() < 2


def test_first_and_second_derivatives_of_a_monotone_solution_are_those_of_the_inverse_function():
    scale = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    target = torch.linspace(-5, 5, 11, dtype=torch.float64, requires_grad=True)

    def solve(scale, target):
        low = torch.full_like(target, -10).detach()
        return invert_monotone(lambda x: (scale * x + x**3, scale + 3 * x.square()), target, low, -low)

    assert torch.autograd.gradcheck(solve, (scale, target), atol=1e-6)
    assert torch.autograd.gradgradcheck(solve, (scale, target), atol=1e-5)


def test_a_missing_number_stays_missing_and_spoils_no_other():
    target = torch.tensor([1.0, float("nan"), 2.0])
    found = invert_monotone(cubic, target, torch.full_like(target, -10), torch.full_like(target, 10))
    assert found.isnan().tolist() == [False, True, False]
    assert torch.allclose(cubic(found)[0][::2], target[::2], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_contraction_solution_keeps_the_stated_tolerance_also_where_it_contracts_slowly(dtype):
    matrix = 0.99 * torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    x = torch.randn(5, 4, dtype=torch.float64)
    z = (x + x @ matrix.T).to(dtype)
    found = invert_contraction(lambda x: x @ matrix.T.to(dtype), z, lipschitz=0.99)
    assert ((found - x).norm(dim=1) <= 2 * tolerance_of(dtype) * (1 + x.norm(dim=1))).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("lipschitz", [0.9, 0.99, 0.999])
def test_contraction_solution_keeps_the_tolerance_where_every_step_is_nearly_as_long_as_the_last(lipschitz, dtype):
    x = torch.linspace(0.5, 3, 7, dtype=torch.float64)[:, None]
    slope = torch.tensor(lipschitz, dtype=dtype)
    found = invert_contraction(lambda x: -slope * x, ((1 - slope.double()) * x).to(dtype), lipschitz)
    bound = max(tolerance_of(dtype), 4 * torch.finfo(dtype).eps * lipschitz / (1 - lipschitz))
    assert ((found - x).norm(dim=1) <= bound * (1 + x.norm(dim=1))).all()


def test_contraction_gradients_are_those_of_the_inverse_function():
    matrix = (0.2 * torch.randn(3, 3, dtype=torch.float64)).requires_grad_()
    z = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def solve(matrix, z):
        return invert_contraction(lambda x: torch.tanh(x @ matrix), z, lipschitz=0.9)

    assert torch.autograd.gradcheck(solve, (matrix, z), atol=1e-6, check_undefined_grad=False)


def test_what_does_not_contract_is_reported():
    with pytest.raises(RuntimeError, match="does not contract"):
        invert_contraction(lambda x: 1.5 * x, torch.ones(2, 3), lipschitz=0.9)


def test_second_derivatives_of_a_contraction_are_refused_not_wrong():
    z = torch.randn(2, 3, requires_grad=True)
    x = invert_contraction(lambda x: 0.5 * torch.tanh(x), z, lipschitz=0.9)
    with pytest.raises(RuntimeError, match="has first derivatives only"):
        torch.autograd.grad(x.sum(), z, create_graph=True)
