"""WaveFlow against the L0SG implementation, both permutations, with and without weight norm."""

import pytest
import torch
from goldens import distance, golden
from tolerances import GOLDEN_WAVEFLOW as BOUND

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.l0sg import read_l0sg
from waveflow.inference.fuse import fuse
from waveflow.losses import log_likelihood

NAMES = ["waveflow_small_h8", "waveflow_small_h8_bipartize"]
both = pytest.mark.parametrize("name", NAMES)


def found_in(state, metadata, name):
    config = metadata["config"]
    return read_l0sg(
        state,
        name,
        n_group=config["n_height"],
        n_layers_per_cycle=config["n_layer_per_cycle"],
        permutation={"waveflow": "reverse", "waveflow_bipartize": "bipartite"}[config["coupling_type"]],
    )


def build(found):
    return found.build(MelConfig.preset("nvidia", n_mels=found.n_mels))


def model_of(name):
    state, tensors, metadata = golden(name)
    return build(found_in(state, metadata, name)), tensors, metadata


def as_rows(z, height):
    return z.view(len(z), -1, height).transpose(1, 2)[:, None]


def noise(tensors, metadata):
    return float(metadata["temp"]) * tensors["reverse.noise.0"][:, 0].transpose(1, 2).flatten(1)


def loss_of(z, log_det):
    return -log_likelihood(z, log_det).sum() / z.numel()


@both
def test_config_is_read_off_the_shapes(name):
    model, _, metadata = model_of(name)
    theirs, ours = metadata["config"], model.config
    assert (ours.n_flows, ours.n_layers, ours.n_channels) == (
        theirs["n_flow"],
        theirs["n_layer"],
        theirs["res_channels"],
    )
    assert ours.upsample_factors == [16, 16]
    assert ours.kernel_size == 3
    assert ours.mel.n_mels == theirs["cin_channels"]


@both
def test_latent_log_s_t_and_loss_are_the_reference_s(name):
    model, tensors, metadata = model_of(name)
    outputs, steps = [], model.flow.steps[1:-1]
    for step in steps:
        step.conditioner.register_forward_hook(lambda _m, _i, out: outputs.append(out.split(1, dim=1)))
    z, log_det = model(tensors["forward.audio"], tensors["forward.mel"])
    assert distance(as_rows(z, model.n_group), tensors["forward.z"]) < BOUND["z"]
    assert distance(log_det.sum(), tensors["forward.logdet"]) < BOUND["log_det"]
    assert distance(loss_of(z, log_det), tensors["forward.loss_sigma_1.0"]) < BOUND["loss"]
    assert len(outputs) == metadata["config"]["n_flow"]
    for k, (t, log_s) in enumerate(outputs):
        assert distance(t, tensors[f"forward.t.{k}"]) < BOUND["log_s"]
        assert distance(log_s, tensors[f"forward.log_s.{k}"]) < BOUND["log_s"]


@both
def test_gradients_are_the_reference_s(name):
    state, tensors, metadata = golden(name)
    state = {key: value.clone().requires_grad_() for key, value in state.items()}
    found = found_in(state, metadata, name)
    audio, mel = tensors["forward.audio"].requires_grad_(), tensors["forward.mel"].requires_grad_()
    loss = loss_of(*torch.func.functional_call(build(found), found.weights, (audio, mel)))
    gradients = dict(zip(["audio", "mel", *state], torch.autograd.grad(loss, [audio, mel, *state.values()])))
    for key in ("audio", "mel"):
        assert distance(gradients.pop(key), tensors[f"forward.grad.{key}"]) < BOUND["gradient"]
    stem = "forward.grad_norm."
    norms = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
    assert norms.keys() == gradients.keys()
    # The direction of a single number has no gradient but rounding.
    floor = max(norms.values()) * 1e-6
    for key, norm in norms.items():
        assert abs(gradients[key].norm() - norm) <= BOUND["grad_norm"] * norm + floor, key


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}_no_weight_norm" for name in NAMES)])
def test_audio_of_given_noise_is_the_reference_s(name):
    model, tensors, metadata = model_of(name)
    z = noise(tensors, metadata)
    for flow in (model, fuse(model)):
        assert distance(flow.inverse(z, tensors["reverse.mel"]), tensors["reverse.audio"]) < BOUND["audio"]


@both
def test_conditioning_layers_fused_by_the_reference_are_read_too(name):
    state, tensors, metadata = golden(f"{name}_no_weight_norm")
    stem = "fused_state_dict."
    fused = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
    assert len(fused) == 2 * metadata["config"]["n_flow"]
    state = {key: value for key, value in state.items() if "filter_gate_conv_c" not in key}
    model = build(found_in({**state, **fused}, metadata, name))
    audio = model.inverse(noise(tensors, metadata), tensors["reverse.mel"])
    assert distance(audio, tensors["reverse.audio"]) < BOUND["audio"]


@both
def test_upsampled_mel_is_the_reference_s(name):
    model, tensors, _ = model_of(name)
    found = model.upsample(tensors["reverse.mel"])
    assert distance(found, tensors["reverse.mel_upsampled"]) < BOUND["z"]


@both
def test_inverse_undoes_forward_of_the_reference_s_latent(name):
    model, tensors, _ = model_of(name)
    z = tensors["forward.z"][:, 0].transpose(1, 2).flatten(1)
    assert distance(model.inverse(z, tensors["forward.mel"]), tensors["forward.audio"]) < BOUND["audio"]


@both
def test_another_mel_height_or_permutation_would_be_noticed(name):
    state, tensors, metadata = golden(name)
    z = noise(tensors, metadata)
    rolled = model_of(name)[0].inverse(z, tensors["reverse.mel"].roll(1, dims=-1))
    assert distance(rolled, tensors["reverse.audio"]) > 0.01
    kinds = {"waveflow": "waveflow_bipartize", "waveflow_bipartize": "waveflow"}
    wrong = {**metadata["config"], "coupling_type": kinds[metadata["config"]["coupling_type"]]}
    other = build(found_in(state, {"config": wrong}, name))
    assert distance(other.inverse(z, tensors["reverse.mel"]), tensors["reverse.audio"]) > 0.01
