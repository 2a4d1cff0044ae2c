import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from waveflow.bijections import InvertibleConv1x1
from waveflow.inference import fuse
from waveflow.models import build
from waveflow.nn import low_rank


def small_lapglow():
    return build("lapglow", n_flows=2, n_channels=8, dilations=[1, 2])


def normed() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Conv1d(16, 24, 3)), nn.Conv1d(24, 16, 1))


def perturb(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_fresh_updates_change_nothing():
    model, audio, mel = small_lapglow(), torch.randn(2, 1024), torch.randn(2, 80, 4)
    before = model(audio, mel)
    low_rank.attach(model, 2)
    assert all(torch.equal(old, new) for old, new in zip(before, model(audio, mel)))


def test_only_updates_train():
    model = small_lapglow()
    low_rank.attach(model, 2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert {name.rpartition(".")[2] for name in trained} == {"up", "down", "by"}


@pytest.mark.parametrize("make", [small_lapglow, normed])
def test_detaching_gives_the_base_back_to_the_bit(make):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    types = [type(module).__name__ for module in model.modules()]
    low_rank.attach(model, 2)
    perturb(model)
    low_rank.detach(model)
    assert same(model.state_dict(), before)
    assert [type(module).__name__ for module in model.modules()] == types


@pytest.mark.parametrize("make", [small_lapglow, normed])
def test_a_copy_keeps_its_updates_when_the_original_loses_them(make):
    model = make()
    low_rank.attach(model, 2)
    perturb(model)
    twin = copy.deepcopy(model)
    expected = low_rank.updates(model)
    low_rank.detach(model)
    assert same(low_rank.updates(twin), expected)
    assert not low_rank.updates(model)


def test_merged_weights_give_the_output_of_attached_updates():
    model, audio, mel = small_lapglow(), torch.randn(2, 1024), torch.randn(2, 80, 4)
    low_rank.attach(model, 2)
    perturb(model)
    attached = model(audio, mel)
    low_rank.merge(model)
    torch.testing.assert_close(model(audio, mel), attached, rtol=1e-4, atol=1e-4)
    assert not low_rank.updates(model)


def test_the_same_updates_always_merge_to_the_same_weights():
    model = small_lapglow()
    low_rank.attach(model, 2)
    perturb(model)
    twin = copy.deepcopy(model)
    low_rank.merge(model)
    low_rank.merge(twin)
    assert same(model.state_dict(), twin.state_dict())


@pytest.mark.parametrize("make", [small_lapglow, normed])
def test_unmerging_gives_the_base_back_to_the_bit(make):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    low_rank.attach(model, 2)
    perturb(model)
    kept = low_rank.merge(model)
    assert not same(model.state_dict(), before)
    low_rank.unmerge(model, kept)
    assert same(model.state_dict(), before)


def test_a_weight_norm_keeps_the_merged_weight():
    model, x = normed(), torch.randn(2, 16, 9)
    low_rank.attach(model, 2)
    perturb(model)
    attached = model(x)
    low_rank.merge(model)
    torch.testing.assert_close(model(x), attached)


def test_fuse_works_updates_in():
    model, z, mel = small_lapglow(), torch.randn(1, 1024), torch.randn(1, 80, 4)
    low_rank.attach(model, 2)
    perturb(model)
    fused = fuse(model)
    assert not low_rank.updates(fused)
    torch.testing.assert_close(fused.inverse(z, mel), model.inverse(z, mel), rtol=1e-4, atol=1e-4)


def test_an_update_has_the_rank_it_was_given():
    layer = InvertibleConv1x1(16)
    before = layer.weight.detach().clone()
    low_rank.attach(layer, 3)
    perturb(layer)
    assert torch.linalg.matrix_rank(layer.weight - before) == 3


def test_patterns_choose_what_is_adapted():
    model = small_lapglow()
    names = low_rank.attach(model, 2, ["*.end.*"], vectors=False)
    assert names == [f"flow.steps.{k}.steps.1.conditioner.end.weight" for k in (2, 3)]


def test_updates_survive_being_taken_out_and_put_on_again():
    model = small_lapglow()
    twin = copy.deepcopy(model)
    low_rank.attach(model, 2)
    perturb(model)
    low_rank.attach_updates(twin, low_rank.updates(model))
    assert same(twin.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"nowhere.weight.by": torch.zeros(3)}, "has no weight 'nowhere.weight'"),
        ({"flow.steps.1.conditioner.weight.by": torch.zeros(3)}, "the weight has shape"),
        ({"flow.steps.2.steps.0.weight.up": torch.zeros(256, 2)}, "the weight has shape"),
    ],
)
def test_updates_of_another_model_are_refused(tensors, message):
    model = small_lapglow()
    tensors = {name.replace("flow.steps.1.conditioner", gain_of(model)): value for name, value in tensors.items()}
    with pytest.raises(ValueError, match=message):
        low_rank.attach_updates(model, tensors)


def gain_of(model: nn.Module) -> str:
    return next(name for name, _ in model.flow.steps[1].named_parameters(prefix="flow.steps.1")).rpartition(".")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "rank is 0"),
        ((2, ["nothing"]), "no weight is called 'nothing'"),
        ((500, ["flow.*.weight"]), "saves nothing"),
    ],
)
def test_impossible_updates_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        low_rank.attach(small_lapglow(), *arguments)


def test_a_model_is_adapted_once():
    model = small_lapglow()
    low_rank.attach(model, 2)
    with pytest.raises(ValueError, match="already"):
        low_rank.attach(model, 2)
