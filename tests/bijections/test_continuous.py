import importlib
import math
import sys

import pytest
import torch
from torch import nn

from waveflow.bijections import Continuous
from waveflow.bijections.continuous import ADAPTIVE, FIXED
from waveflow.extras import MissingExtra
from waveflow.nn import Context
from waveflow.nn.mlp import TimedMLP


class Linear(nn.Module):
    """dx/dt = A x, which the matrix exponential solves."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(0.5 * torch.randn(n, n, dtype=torch.float64))

    def forward(self, t, x, context):
        return x @ self.matrix.T


def test_linear_equation_gives_the_matrix_exponential_and_the_trace():
    velocity = Linear(4)
    flow, x = Continuous(velocity, rtol=1e-9, atol=1e-9), torch.randn(3, 4, dtype=torch.float64)
    z, log_det = flow(x)
    assert torch.allclose(z, x @ torch.linalg.matrix_exp(velocity.matrix).T, atol=1e-7)
    assert torch.allclose(log_det, velocity.matrix.trace().expand(3), atol=1e-7)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_steps_converge_at_the_order_of_the_solver(solver, order):
    velocity = Linear(3)
    x = torch.randn(2, 3, dtype=torch.float64)
    expected = x @ torch.linalg.matrix_exp(velocity.matrix).T
    error = [(Continuous(velocity, solver=solver, n_steps=n)(x)[0] - expected).abs().max().item() for n in (10, 20)]
    assert abs(math.log2(error[0] / error[1]) - order) < 0.3


@pytest.mark.parametrize("n_steps", [1, 3, 49])
def test_fixed_solver_takes_the_steps_it_is_told_in_both_directions(n_steps):
    calls = []

    def velocity(t, x, context):
        calls.append(t.item())
        return x

    module = nn.Module()
    module.forward = velocity
    flow = Continuous(module, solver="euler", n_steps=n_steps)
    flow.inverse(torch.ones(1, 2))
    assert len(calls) == n_steps
    assert calls == pytest.approx([1 - k / n_steps for k in range(n_steps)], abs=1e-6)


def test_estimated_trace_is_unbiased():
    velocity = TimedMLP(5, 5, n_channels=8).double()
    nn.init.normal_(velocity.end.weight)
    x = torch.randn(1, 5, dtype=torch.float64)
    steps = {"solver": "rk4", "n_steps": 2}
    estimate = Continuous(velocity, exact=False, **steps)
    with torch.no_grad():
        draws = estimate(x.expand(600, 5))[1]
        expected = Continuous(velocity, exact=True, **steps)(x)[1][0]
    assert draws.std() > 0
    assert abs(draws.mean() - expected) < 4 * draws.std() / len(draws) ** 0.5


def test_noise_of_an_estimate_is_the_same_along_the_path():
    velocity = Linear(3)
    with torch.no_grad():
        velocity.matrix.copy_(torch.tensor([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]]))
    draws = {round(Continuous(velocity, exact=False)(torch.ones(1, 3).double())[1].item(), 4) for _ in range(30)}
    assert draws == {-2.0, 2.0}


def test_adjoint_gives_the_gradients_of_the_solver():
    velocity = TimedMLP(3, 3, context_channels=2, n_channels=8).double()
    nn.init.normal_(velocity.end.weight)
    x, context = torch.randn(4, 3).double(), torch.randn(4, 2).double().requires_grad_()
    gradients = []
    for adjoint in (False, True):
        z, log_det = Continuous(velocity, rtol=1e-9, atol=1e-9, adjoint=adjoint)(x, context)
        loss = z.square().sum() + log_det.sum()
        gradients.append(torch.autograd.grad(loss, [context, *velocity.parameters()]))
    for direct, adjoint in zip(*gradients):
        assert (direct - adjoint).abs().max() < 1e-6


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1, dtype=torch.float64)

    def forward(self, t, x, context):
        return torch.tanh(self.conv(x))


def test_padding_of_a_sequence_neither_moves_nor_counts():
    flow = Continuous(Mixing(), solver="rk4", n_steps=4)
    x = torch.randn(2, 2, 5, dtype=torch.float64)
    mask = torch.tensor([[[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 0]]], dtype=torch.float64)
    z, log_det = flow(x * mask, Context(None, mask))
    alone, alone_log_det = flow(x[1:, :, :3])
    assert torch.equal(z[1, :, 3:], torch.zeros(2, 2, dtype=torch.float64))
    assert torch.allclose(z[1:, :, :3], alone, atol=1e-12)
    assert torch.allclose(log_det[1:], alone_log_det, atol=1e-12)


@pytest.mark.parametrize(
    "config", [{"solver": "rk4"}, {"solver": "dopri5", "n_steps": 3}, {"solver": "rk4", "n_steps": 0}]
)
def test_steps_belong_to_fixed_solvers_alone(config):
    with pytest.raises(ValueError, match="need n_steps, a whole number of at least 1, the others take none"):
        Continuous(Linear(2), **config)


def test_missing_torchdiffeq_names_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(MissingExtra, match=r"waveflow\[ode\]"):
        Continuous(Linear(2))(torch.zeros(1, 2, dtype=torch.float64))


@pytest.mark.parametrize("name", ["dopri55", "scipy_solver"])
def test_an_unknown_solver_and_one_without_gradients_are_refused(name):
    with pytest.raises(ValueError, match=f"solver is '{name}', expected one of"):
        Continuous(Linear(2), solver=name)


def test_the_solvers_are_those_of_torchdiffeq():
    solvers = importlib.import_module("torchdiffeq._impl.odeint").SOLVERS
    assert {*FIXED, *ADAPTIVE} == {*solvers} - {"scipy_solver"}


class Steep(nn.Module):
    def forward(self, t, x, context):
        return torch.sin(20 * x) * x


def test_easy_items_do_not_hide_the_error_of_a_hard_one():
    hard, easy = torch.tensor([[2.0]], dtype=torch.float64), torch.zeros(2000, 1, dtype=torch.float64)
    exact = Continuous(Steep(), rtol=1e-12, atol=1e-12)(hard)
    flow = Continuous(Steep())
    for batch in (hard, torch.cat([hard, easy])):
        z, log_det = flow(batch)
        assert (z[0] - exact[0][0]).abs() < 1e-4
        assert (log_det[0] - exact[1][0]).abs() < 2e-3


def test_half_precision_networks_follow_a_path_in_single_precision():
    velocity = TimedMLP(3, 3, context_channels=0, n_channels=8)
    nn.init.normal_(velocity.end.weight)
    x = torch.randn(4, 3)
    expected = Continuous(velocity, solver="rk4", n_steps=4)(x)
    z, log_det = Continuous(velocity.bfloat16(), solver="rk4", n_steps=4)(x.bfloat16())
    assert (z.dtype, log_det.dtype) == (torch.bfloat16, torch.float32)
    assert (z - expected[0]).abs().max() < 0.1
    assert (log_det - expected[1]).abs().max() < 0.1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("adjoint", [False, True])
def test_data_that_are_not_finite_are_named_as_what_stops_an_adaptive_solver(value, adjoint):
    flow, x = Continuous(Linear(2), adjoint=adjoint), torch.zeros(2, 2, dtype=torch.float64)
    x[0, 0] = value
    for direction in (flow, flow.inverse):
        with pytest.raises(RuntimeError, match=r"^dopri5 found no step .* are not finite"):
            direction(x)
