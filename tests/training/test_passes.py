"""The passes arranged for training are the model's own."""

import pytest
import torch

from waveflow.audio.mel import MelSpectrogram
from waveflow.losses import log_likelihood
from waveflow.models import build
from waveflow.training.config import ObjectiveConfig
from waveflow.training.objective import Objective, Part
from waveflow.training.passes import Passes, couple, steps_for, uncouple


@pytest.fixture(params=[0, 12], ids=["frames", "encoder"])
def model(request):
    torch.manual_seed(0)
    model = build("lapglow", n_flows=2, n_channels=16, dilations=[1, 2], n_encoded=request.param)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return model


def batch_of(model):
    audio = 0.1 * torch.randn(3, 8 * model.n_group)
    return audio, torch.randn(3, 80, 8) - 5


def test_the_passes_are_the_models(model):
    audio, mel = batch_of(model)
    passes = Passes(model, mel, torch.float32)
    z, log_det = passes.forward(audio)
    expected, each = model(audio, mel)
    assert torch.allclose(z.flatten(1), expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(log_det, each, rtol=1e-5)
    latent = torch.randn_like(z[:2])
    expected = model.inverse(latent.flatten(1), mel[:2])
    assert (passes.inverse(latent) - expected).norm() <= 1e-4 * expected.norm()


def test_the_passes_have_the_models_gradients(model):
    model = model.double()
    audio, mel = (x.double() for x in batch_of(model))
    latent = torch.randn(3, 8, model.n_group, dtype=torch.float64)

    def gradients(z, log_det, synthesis):
        loss = z.square().sum() - log_det @ torch.arange(1.0, 4, dtype=log_det.dtype) + synthesis.abs().sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    expected = gradients(*model(audio, mel), model.inverse(latent.flatten(1), mel))
    passes = Passes(model, mel, torch.float64)
    found = gradients(*passes.forward(audio), passes.inverse(latent))
    for name, a, b in zip(dict(model.named_parameters()), found, expected, strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm(), name


@pytest.mark.parametrize("n_chosen", [0, 2])
def test_an_objective_is_the_same_by_either_passes(model, n_chosen):
    audio, mel = batch_of(model)
    uniform, latent = torch.rand_like(audio), torch.randn_like(audio[:n_chosen])
    part = Part(audio, mel, uniform, torch.arange(n_chosen), latent)
    chosen = ObjectiveConfig(mel_weight=3.0, loudness_weight=2.0, phase_weight=2.0, own_weight=0.1, sigma=0.8)
    found, expected = (Objective(model, chosen, steps)(part) for steps in (None, (couple, uncouple)))
    for one, other in zip(found, expected, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-5)


def test_what_a_model_says_is_told_to_be_as_likely_as_recordings(model):
    audio, mel = batch_of(model)
    part = Part(audio, mel, torch.rand_like(audio), torch.arange(2), torch.randn_like(audio[:2]))
    own = Objective(model, ObjectiveConfig(own_weight=0.1, sigma=50.0))(part)[2]
    synthesis = model.inverse(50.0 * part.latent, mel[:2]).detach()
    noise = (part.uniform[:2] - 0.5) / 32768
    theirs = log_likelihood(*model(synthesis + noise, MelSpectrogram(model.mel_config)(synthesis)))
    missing = (log_likelihood(*model(audio[:2] + noise, mel[:2])) - theirs) / audio.shape[1]
    assert (missing > 10).all()
    assert own.item() == pytest.approx(torch.log1p(missing).sum().item(), rel=1e-4)
    own.backward()
    # Smaller gains bring latents that are too far out nearer.
    assert model.flow.steps[1].conditioner.bias.grad.mean() > 0
    assert Objective(model, ObjectiveConfig(own_weight=0.1, sigma=0.0))(part)[2] == 0


def test_half_precision_is_the_conditioners_alone(model):
    audio, mel = batch_of(model)
    part = Part(audio, mel, torch.rand_like(audio), torch.arange(2), torch.randn_like(audio[:2]))
    objective = Objective(model, ObjectiveConfig(), (couple, uncouple))
    exact = objective(part)
    with torch.autocast("cpu", torch.bfloat16):
        half = objective(part)
    assert half[2] == exact[2] == 0
    for one, other in zip(half[:2], exact[:2], strict=True):
        assert one.dtype == torch.float32
        assert one.item() == pytest.approx(other.item(), rel=2e-2)
        assert one.item() != other.item()


def test_chosen_items_that_are_not_the_first_are_no_part_of_a_run(model):
    audio, mel = batch_of(model)
    part = Part(audio, mel, torch.rand_like(audio), torch.tensor([1]), torch.randn_like(audio[:1]))
    with pytest.raises(AssertionError, match="not the first ones"):
        Objective(model, ObjectiveConfig(), (couple, uncouple))(part)


def test_a_flow_of_another_kind_and_another_device_take_their_own_passes(model):
    assert steps_for(model, torch.device("cpu")) == (couple, uncouple)
    assert steps_for(model, torch.device("cuda")) is None
    assert steps_for(build("waveglow", n_flows=1, n_channels=4, n_layers=1), torch.device("cpu")) is None
