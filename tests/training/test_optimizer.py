"""Muon and what it steps."""

import copy

import pytest
import torch
from small_models import small

from waveflow.models import build
from waveflow.training.config import OptimizerConfig
from waveflow.training.optimizer import Muon, blocks, make_optimizer, network_matrices


def with_gradients(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("tallest", [None, 8])
@pytest.mark.parametrize("shape", [(12, 20), (40, 8), (16, 4, 3), (7, 5)])
def test_a_matrix_is_moved_by_nearly_orthogonal_blocks(shape, tallest):
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([], [weight], lr=0.5, scale=2.0, tallest=tallest).step()
    moved = blocks(weight.detach(), tallest)
    assert moved.shape[1] <= min(moved.shape[2], tallest or shape[0])
    singular = torch.linalg.svdvals(moved) / (0.2 * max(moved.shape[-2:]) ** 0.5)
    assert singular.median() > 0.6
    assert singular.max() < 1.4
    assert (weight.detach() * weight.grad).sum() < 0


def test_networks_matrices_are_muons_and_nothing_else():
    model = small("lapglow")
    taken = {id(weight) for weight in network_matrices(model)}
    names = {name for name, weight in model.named_parameters() if id(weight) in taken}
    others = {name for name, _ in model.named_parameters()} - names
    assert "encoder.start.weight" in names
    assert all(
        f"flow.steps.{k}.steps.1.conditioner.{layer}.weight" in names for k in (2, 3) for layer in ("start", "end")
    )
    assert {"flow.steps.1.conditioner.weight", "flow.steps.2.steps.0.weight", "encoder.norm.0.weight"} <= others
    assert all(model.get_parameter(name).dim() > 1 for name in names)


def test_lengths_under_weight_norm_are_left_to_adamw():
    model = build("waveglow", n_flows=2, n_channels=8, n_layers=2)
    taken = {id(weight) for weight in network_matrices(model)}
    for name, weight in model.named_parameters():
        if name.endswith("original0"):
            assert id(weight) not in taken
        if name.endswith("original1"):
            assert id(weight) in taken


def test_what_is_not_muons_moves_as_by_adamw():
    model = with_gradients(small("lapglow"))
    twin = copy.deepcopy(model)
    with_gradients(twin)
    config = OptimizerConfig(name="muon", lr=1e-3)
    make_optimizer(model, config).step()
    make_optimizer(twin, OptimizerConfig(lr=1e-3)).step()
    muons = {id(weight) for weight in network_matrices(model)}
    for own, other in zip(model.parameters(), twin.parameters()):
        assert torch.equal(own, other) == (id(own) not in muons)


def test_gradients_outlive_a_step():
    model = with_gradients(small("lapglow"))
    make_optimizer(model, OptimizerConfig(name="muon")).step()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_weights_that_are_held_fixed_stay():
    model = small("lapglow")
    model.encoder.requires_grad_(False)
    before = copy.deepcopy(model.encoder.state_dict())
    optimizer = make_optimizer(with_gradients(model), OptimizerConfig(name="muon"))
    optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())


def test_a_stopped_optimizer_goes_on_as_it_would_have():
    model = small("lapglow")
    config = OptimizerConfig(name="muon", lr=1e-3)
    optimizer = make_optimizer(model, config)
    with_gradients(model)
    optimizer.step()
    twin = copy.deepcopy(model)
    again = make_optimizer(twin, config)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in (optimizer, again):
        with_gradients(model if one is optimizer else twin, seed=1)
        one.step()
    assert all(torch.equal(own, other) for own, other in zip(model.parameters(), twin.parameters()))
