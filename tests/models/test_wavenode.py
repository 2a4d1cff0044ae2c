"""WaveNODE's own: equations solved two ways, and trained without solving any."""

import sys

import pytest
import torch
from tolerances import PADDING

from waveflow.audio.mel import MelConfig
from waveflow.bijections import Continuous
from waveflow.losses import nats_per_sample
from waveflow.models import MelContext, build
from waveflow.models.cost import cost
from waveflow.training.reversible import make_reversible

MEL = MelConfig.preset("nvidia", n_mels=3, n_fft=16, win_length=16, hop_length=8, f_max=None)
TINY = {"mel": MEL, "factors": [2, 2], "n_blocks_per_split": 1, "n_channels": 8, "n_layers": 2}


def perturbed(**changes):
    model = build("wavenode", **{**TINY, **changes}).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def data(batch=2, n_frames=2):
    return torch.randn(batch, 8 * n_frames).double(), torch.randn(batch, 3, n_frames).double()


def colored(batch, n_frames=4):
    """Noise whose neighbouring samples are alike and whose size the mel tells."""
    mel = torch.randn(batch, 3, n_frames)
    size = (0.1 * torch.exp(0.5 * mel[:, 0])).repeat_interleave(8, dim=1)
    noise = torch.randn(batch, 8 * n_frames + 1)
    return size * (noise[:, 1:] + 0.9 * noise[:, :-1]), mel


@pytest.mark.parametrize("n_blocks_per_split", [0, 1])
def test_exact_log_det_is_that_of_autograds_full_jacobian(n_blocks_per_split):
    changes = {"solver": "rk4", "n_steps": 10, "synthesis_solver": None, "synthesis_steps": None}
    model = perturbed(exact_trace=True, n_blocks_per_split=n_blocks_per_split, **changes)
    x, mel = data(batch=1)
    with torch.no_grad():
        z, log_det = model(x, mel)
    jacobian = torch.autograd.functional.jacobian(lambda latent: model.inverse(latent, mel)[0], z)[:, 0]
    assert abs(torch.linalg.slogdet(jacobian).logabsdet + log_det[0]) < 1e-5


@torch.no_grad()
def test_estimated_log_det_is_right_in_the_mean():
    changes = {"solver": "rk4", "n_steps": 2}
    model, (x, mel) = perturbed(exact_trace=True, **changes), data(batch=1)
    exact = model(x, mel)[1]
    estimating = build("wavenode", **{**TINY, **changes, "exact_trace": False}).double().eval()
    estimating.load_state_dict(model.state_dict())
    estimates = estimating(x.expand(400, -1), mel.expand(400, -1, -1))[1]
    assert estimates.std() > 0
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / 20


@torch.no_grad()
def test_adaptive_solver_inverts_to_its_tolerance():
    x, mel = data()
    errors = []
    for tolerance in (1e-3, 1e-7):
        torch.manual_seed(1)
        model = perturbed(tolerance=tolerance, synthesis_solver=None, synthesis_steps=None)
        errors.append((model.inverse(model(x, mel)[0], mel) - x).abs().max())
    assert errors[1] < 1e-5
    assert errors[1] < errors[0]


@torch.no_grad()
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_synthesis_converges_to_the_exact_audio_at_the_order_of_its_solver(solver, order):
    z, mel = data()
    audio = []
    for n_steps in (2, 4, 64):
        torch.manual_seed(1)
        audio.append(perturbed(synthesis_solver=solver, synthesis_steps=n_steps).inverse(z, mel))
    errors = [(found - audio[2]).abs().max() for found in audio[:2]]
    assert errors[1] < errors[0] / 2 ** (order - 0.7)


@torch.no_grad()
def test_steps_of_synthesis_decide_cost_and_receptive_field():
    few, many = (perturbed(synthesis_solver="euler", synthesis_steps=n) for n in (1, 3))
    assert cost(many)["gmac_per_second"] > 1.5 * cost(few)["gmac_per_second"]
    assert many.receptive_field > few.receptive_field
    adaptive = perturbed(synthesis_solver=None, synthesis_steps=None)
    with pytest.raises(TypeError, match="choose a synthesis_solver"):
        _ = adaptive.receptive_field


def test_fresh_model_is_the_identity():
    model, (x, mel) = build("wavenode", **TINY).double().eval(), data()
    z, log_det = model(x, mel)
    assert (z - x).abs().max() < PADDING
    assert log_det.abs().max() < PADDING


@pytest.mark.parametrize("n_blocks_per_split", [0, 1])
def test_flow_matching_solves_nothing_and_raises_the_likelihood(monkeypatch, n_blocks_per_split):
    changes = {"n_blocks_per_split": n_blocks_per_split, "n_channels": 16, "solver": "rk4", "n_steps": 4}
    model = build("wavenode", **{**TINY, **changes, "exact_trace": True}).train()
    held_out = colored(64)
    model.flow_matching_loss(*colored(64))
    with torch.no_grad():
        before = nats_per_sample(*model.eval()(*held_out))
    optimizer = torch.optim.Adam(model.train().parameters(), 5e-3)
    with monkeypatch.context() as patch:
        patch.setattr(Continuous, "_solve", None)
        losses = []
        for _ in range(150):
            loss = model.flow_matching_loss(*colored(64))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20])
    with torch.no_grad():
        after = nats_per_sample(*model.eval()(*held_out))
    assert after > before + 0.1


def test_flow_matching_reaches_every_weight_but_the_normalisation():
    model = perturbed().train()
    audio, mel = colored(8)
    model.flow_matching_loss(audio.double(), mel.double()).backward()
    for name, parameter in model.named_parameters():
        if name.endswith(("steps.0.loc", "steps.0.scale")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().max() > 0, name


def test_first_batch_of_flow_matching_sets_the_normalisation_of_every_block():
    model = build("wavenode", **TINY).train()
    audio, mel = colored(256)
    model.flow_matching_loss(audio, mel)
    first, second = (scale.steps.steps[0] for scale in model.flow.steps[1].scales)
    assert first.initialized
    assert second.initialized
    assert torch.allclose(1 / first.scale, audio.view(-1, 2).std(0), rtol=0.05)
    before = first.scale.clone()
    model.flow_matching_loss(10 * audio, mel)
    assert torch.equal(first.scale, before)


def test_flow_matching_is_blind_to_padding_and_a_function_of_its_generator():
    model, (audio, mel) = perturbed(), data(n_frames=4)
    lengths = torch.tensor([32, 16])
    noisy, noisy_mel = audio.clone(), mel.clone()
    noisy[1, 16:], noisy_mel[1, :, 2:] = 100, 100

    def loss(x, features, seed):
        return model.flow_matching_loss(x, MelContext(features, lengths), torch.Generator().manual_seed(seed))

    assert abs(loss(audio, mel, 1) - loss(noisy, noisy_mel, 1)) < 1e-9
    assert loss(audio, mel, 1) == loss(audio, mel, 1) != loss(audio, mel, 2)


def test_zero_velocity_is_as_far_from_the_target_as_the_target_is_long():
    model = build("wavenode", **{**TINY, "factors": [4], "n_blocks_per_split": 0}).double().train()
    audio, mel = (tensor.double() for tensor in colored(512))
    # Target: noise less normalised audio, two independent variables of variance 1.
    assert model.flow_matching_loss(audio, mel).item() == pytest.approx(2, rel=0.05)


def test_without_torchdiffeq_models_are_built_and_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    model, (z, mel) = build("wavenode", **TINY).double(), data()
    model.flow_matching_loss(z, mel)
    with pytest.raises(ImportError, match=r"pip install 'waveflow\[ode\]'"):
        model.inverse(z, mel)


def test_adjoint_training_gives_the_gradients_of_the_solver_s_operations():
    gradients = []
    for adjoint in (False, True):
        torch.manual_seed(1)
        model = perturbed(adjoint=adjoint, exact_trace=True, tolerance=1e-7)
        x, mel = data(batch=1, n_frames=1)
        nats_per_sample(*model(x, mel)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for direct, adjoint in zip(*gradients):
        assert (direct - adjoint).abs().max() < 1e-4 * max(1, direct.abs().max())


def test_reversible_training_is_refused_in_favour_of_the_adjoint():
    with pytest.raises(ValueError, match="adjoint=True"):
        make_reversible(build("wavenode", **TINY))


def test_a_fixed_solver_without_steps_and_a_group_that_does_not_divide_the_hop_are_refused():
    with pytest.raises(ValueError, match=r"^synthesis_solver='euler' with synthesis_steps=None"):
        build("wavenode", synthesis_solver="euler", synthesis_steps=None)
    with pytest.raises(ValueError, match="n_group"):
        build("wavenode", factors=[3, 2])
