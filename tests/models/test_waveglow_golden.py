"""WaveGlow against NVIDIA's own implementation, weights, noise and all."""

import pytest
import torch
from goldens import distance, golden
from tolerances import GOLDEN_WAVEGLOW as BOUND

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.nvidia import read_waveglow, to_nvidia_state_dict
from waveflow.losses import waveglow_loss

WEIGHT_NORMED = ["waveglow_ckpt", "waveglow_small"]
ALL = [*WEIGHT_NORMED, *(f"{name}_no_weight_norm" for name in WEIGHT_NORMED)]


def model_of(state, name):
    found = read_waveglow(state, name)
    return found.build(MelConfig.preset("nvidia", n_mels=found.n_mels))


@pytest.fixture
def reference(request):
    state, tensors, metadata = golden(request.param)
    return model_of(state, request.param), tensors, metadata


def as_channels(z, model):
    return z.view(z.shape[0], -1, model.n_group).transpose(1, 2)


def each_flow(model, audio, mel):
    """log_s and log_det of the 1x1 of each flow, as the forward pass meets them."""
    log_s, log_det_w, handles = [], [], []
    for conv, coupling in model.flow.steps[1]:
        handles += [
            conv.register_forward_hook(lambda _m, _i, out: log_det_w.append(out[1])),
            coupling.conditioner.register_forward_hook(lambda _m, _i, out: log_s.append(out.chunk(2, dim=1)[1])),
        ]
    model(audio, mel)
    for handle in handles:
        handle.remove()
    return log_s, log_det_w


def latent(tensors, model):
    noise = [tensors[f"infer.noise.{i}"] for i in range(sum(key.startswith("infer.noise") for key in tensors))]
    return torch.cat(noise[::-1], dim=1).transpose(1, 2).flatten(1)


@pytest.mark.parametrize("reference", ALL, indirect=True)
def test_latent_is_the_reference_s(reference):
    model, tensors, _ = reference
    z, _ = model(tensors["forward.audio"], tensors["forward.mel"])
    assert distance(as_channels(z, model), tensors["forward.z"]) < BOUND["z"]


@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
def test_log_s_and_log_det_of_every_flow_are_the_reference_s(reference):
    model, tensors, metadata = reference
    log_s, log_det_w = each_flow(model, tensors["forward.audio"], tensors["forward.mel"])
    assert len(log_s) == len(log_det_w) == metadata["config"]["n_flows"]
    for k in range(len(log_s)):
        assert distance(log_s[k], tensors[f"forward.log_s.{k}"]) < BOUND["log_s"]
        assert distance(log_det_w[k].sum(), tensors[f"forward.log_det_W.{k}"]) < BOUND["log_det_W"]


@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
def test_log_det_is_the_sum_over_flows(reference):
    model, tensors, _ = reference
    _, log_det = model(tensors["forward.audio"], tensors["forward.mel"])
    flows = [key for key in tensors if key.startswith("forward.log_")]
    expected = sum(tensors[key].double().sum() for key in flows)
    assert distance(log_det.sum(), expected) < BOUND["log_det_W"]


@pytest.mark.parametrize("sigma", [1.0, 0.7])
@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
def test_loss_is_the_reference_s(reference, sigma):
    model, tensors, _ = reference
    z, log_det = model(tensors["forward.audio"], tensors["forward.mel"])
    assert distance(waveglow_loss(z, log_det, sigma), tensors[f"forward.loss_sigma_{sigma}"]) < BOUND["loss"]


@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
def test_gradients_are_the_reference_s(reference):
    model, tensors, _ = reference
    audio, mel = tensors["forward.audio"].requires_grad_(), tensors["forward.mel"].requires_grad_()
    waveglow_loss(*model(audio, mel)).backward()
    assert distance(audio.grad, tensors["forward.grad.audio"]) < BOUND["gradient"]
    assert distance(mel.grad, tensors["forward.grad.mel"]) < BOUND["gradient"]
    for parameter in model.parameters():
        parameter.data = parameter.grad
    gradients = to_nvidia_state_dict(model)
    stored = {key.removeprefix("forward.grad_norm."): v for key, v in tensors.items() if ".grad_norm." in key}
    assert gradients.keys() == stored.keys()
    for key, norm in stored.items():
        assert distance(gradients[key].norm(), norm) < BOUND["gradient"], key


@pytest.mark.parametrize("reference", ALL, indirect=True)
@torch.no_grad()
def test_audio_of_given_noise_is_the_reference_s(reference):
    model, tensors, metadata = reference
    audio = model.inverse(float(metadata["sigma"]) * latent(tensors, model), tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio"]) < BOUND["audio"]


@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
@torch.no_grad()
def test_audio_at_sigma_0_is_the_reference_s(reference):
    model, tensors, _ = reference
    audio = model.inverse(torch.zeros_like(latent(tensors, model)), tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio_sigma_0"]) < BOUND["audio"]


@pytest.mark.parametrize("reference", WEIGHT_NORMED, indirect=True)
@torch.no_grad()
def test_exchanged_halves_or_another_mel_would_be_noticed(reference):
    model, tensors, metadata = reference
    z, mel = float(metadata["sigma"]) * latent(tensors, model), tensors["infer.mel"]
    rolled = model.inverse(z, mel.roll(1, dims=-1))
    assert distance(rolled, tensors["infer.audio"]) > 0.01
    for _, coupling in model.flow.steps[1]:
        coupling.swap = not coupling.swap
    assert distance(model.inverse(z, mel), tensors["infer.audio"]) > 0.01
