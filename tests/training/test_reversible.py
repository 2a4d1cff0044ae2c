"""Recomputed activations against stored ones."""

import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.losses import log_likelihood
from waveflow.models import MelContext, MelFlow, build
from waveflow.training.activations import peak_activation_bytes
from waveflow.training.reversible import make_reversible

MEL = MelConfig(n_fft=64, win_length=64, hop_length=16, n_mels=5)
SMALL = {
    "waveglow": {"n_flows": 6, "n_early_every": 2, "n_channels": 8, "n_layers": 2},
    "lapglow": {"n_flows": 4, "n_channels": 8, "dilations": [1, 2], "n_encoded": 4, "n_encoder_blocks": 1},
}


def perturbed(name: str, **changes) -> MelFlow:
    torch.manual_seed(1)
    model = build(name, mel=MEL, **{**SMALL[name], **changes}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def objective(model: MelFlow, audio, mel, noise, lengths) -> torch.Tensor:
    context = MelContext(mel, lengths)
    likelihood = log_likelihood(*model(audio, context), lengths).sum()
    return model.inverse(noise, context).pow(3).sum() - likelihood


def example(dtype=torch.float64, n_frames: int = 8):
    torch.manual_seed(2)
    audio, noise = torch.randn(2, 3, n_frames * 16, dtype=dtype)
    return audio, torch.randn(3, 5, n_frames, dtype=dtype), noise


@pytest.mark.parametrize("lengths", [None, torch.tensor([128, 96, 16])], ids=["whole", "padded"])
@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
def test_gradients_equal_those_of_stored_activations(name, lengths):
    gradients = []
    for reversible in (False, True):
        model = make_reversible(perturbed(name)) if reversible else perturbed(name)
        inputs = [t.clone().requires_grad_() for t in example()]
        value = objective(model, *inputs, lengths)
        gradients.append([value.detach(), *torch.autograd.grad(value, [*inputs, *model.parameters()])])
    for ordinary, recomputed in zip(*gradients):
        assert ordinary.abs().max() > 0
        assert (ordinary - recomputed).abs().max() <= 1e-9 * ordinary.abs().max().clamp_min(1)


def test_a_coupling_that_passes_its_second_half_is_replayed_too():
    model = perturbed("waveglow", swap_halves=True)
    gradients = []
    for _ in range(2):
        value = objective(model, *example(), None)
        gradients.append(torch.autograd.grad(value, list(model.parameters())))
        model = make_reversible(model)
    assert all((a - b).abs().max() < 1e-9 * a.abs().max().clamp_min(1) for a, b in zip(*gradients))


def test_weights_that_are_not_trained_get_no_gradient_and_the_others_the_same():
    model = perturbed("lapglow")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("steps.3" in name)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        objective(model, *example(), None).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model = make_reversible(model)
    assert gradients[0].keys() == gradients[1].keys()
    assert all((gradients[0][k] - gradients[1][k]).abs().max() < 1e-9 for k in gradients[0])


def test_weights_keep_their_names():
    model = perturbed("waveglow")
    names = list(model.state_dict())
    assert list(make_reversible(model).state_dict()) == names


def test_autocast_of_the_forward_pass_holds_in_the_recomputation():
    gradients = []
    for reversible in (False, True):
        model = perturbed("lapglow").float()
        model = make_reversible(model) if reversible else model
        with torch.autocast("cpu", torch.bfloat16):
            value = objective(model, *example(torch.float32), None)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]))
    ordinary, recomputed = gradients
    assert (ordinary - recomputed).norm() < 2e-2 * ordinary.norm()


def held(model: MelFlow) -> int:
    """The most bytes that autograd held in a pass of 64 frames."""
    return peak_activation_bytes(model, lambda: objective(model, *example(torch.float32, 64), None).backward())


@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
def test_peak_activation_bytes_stay_flat_from_4_to_12_flows(name):
    few, many = (
        held(make_reversible(perturbed(name, n_flows=n, **early).float()))
        for n, early in ((4, EARLY[name]), (12, EARLY[name]))
    )
    assert many <= 1.02 * few


EARLY = {"waveglow": {"n_early_every": 20}, "lapglow": {}}


def test_stored_activations_grow_with_the_flows_by_the_same_measure():
    few, many = (held(perturbed("lapglow", n_flows=n).float()) for n in (4, 12))
    assert many > 2 * few


def test_a_flow_that_is_no_chain_is_refused():
    model = perturbed("lapglow")
    model.flow = model.flow.steps[0]
    with pytest.raises(ValueError, match=r"train\.reversible=false"):
        make_reversible(model)
