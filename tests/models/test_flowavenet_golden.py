"""FloWaveNet against its authors' implementation, split and all."""

import math

import pytest
import torch
from goldens import distance, golden
from tolerances import GOLDEN_FLOWAVENET as BOUND

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.flowavenet import read_flowavenet
from waveflow.inference.fuse import fuse
from waveflow.losses import log_likelihood, nats_per_sample
from waveflow.nn.grouping import group_samples, ungroup_samples

NAME = "flowavenet_small"


def build(found):
    return found.build(MelConfig.preset("flowavenet", n_mels=found.n_mels))


@pytest.fixture
def reference():
    state, tensors, metadata = golden(NAME)
    return build(read_flowavenet(state, NAME)), tensors, metadata


def audio_of(tensors):
    return tensors["forward.audio"][:, 0]


def noise(tensors, metadata):
    return float(metadata["temp"]) * tensors["reverse.noise.0"][:, 0]


def test_config_is_read_off_the_shapes(reference):
    model, _, metadata = reference
    theirs, ours = metadata["config"], model.config
    assert (ours.n_blocks, ours.n_flows, ours.n_layers, ours.n_channels, ours.n_blocks_per_split, ours.affine) == tuple(
        theirs[key] for key in ("n_block", "n_flow", "n_layer", "width", "block_per_split", "affine")
    )
    assert ours.mel.n_mels == theirs["cin_channels"]
    assert ours.upsample_factors == [16, 16]


def test_log_density_and_last_latent_are_the_reference_s(reference):
    model, tensors, _ = reference
    z, log_det = model(audio_of(tensors), tensors["forward.mel"])
    expected = tensors["forward.log_p"].double() + tensors["forward.logdet"].double()
    assert distance(nats_per_sample(z, log_det), expected) < BOUND["log_density"]
    # The half that is left after the split and the last of three blocks.
    last = group_samples(group_samples(group_samples(z[:, None], 2), 2)[:, :2], 2)
    assert distance(last, tensors["forward.z_last"]) < BOUND["z"]


def test_log_det_of_each_block_and_density_of_the_split_are_the_reference_s(reference):
    model, tensors, _ = reference
    found = {}
    for i, scale in enumerate(model.flow.steps[1].scales):
        scale.steps.register_forward_hook(lambda _m, _i, out, i=i: found.update({f"block.{i}": out[1].sum()}))
        if scale.prior is not None:
            scale.prior.register_forward_hook(lambda _m, _i, out, i=i: found.update({f"split.{i}": out}))
    model(audio_of(tensors), tensors["forward.mel"])
    for i in range(3):
        assert distance(found[f"block.{i}"], tensors[f"forward.block.{i}.logdet"]) < BOUND["log_density"]
    x, log_det = found["split.1"]
    density = log_likelihood(x.chunk(2, dim=1)[1], log_det).sum()
    assert distance(density, tensors["forward.block.1.log_p"]) < BOUND["log_density"]
    assert len(found) == 4


def test_gradients_are_the_reference_s():
    state, tensors, _ = golden(NAME)
    state = {key: value.clone().requires_grad_() for key, value in state.items()}
    read = read_flowavenet(state, NAME)
    audio, mel = tensors["forward.audio"].requires_grad_(), tensors["forward.mel"].requires_grad_()
    loss = -nats_per_sample(*torch.func.functional_call(build(read), read.weights, (audio[:, 0], mel)))
    named = {"audio": audio, "mel": mel, **state}
    gradients = dict(zip(named, torch.autograd.grad(loss, [*named.values()], allow_unused=True)))
    for key in ("audio", "mel"):
        assert distance(gradients.pop(key), tensors[f"forward.grad.{key}"]) < BOUND["gradient"]
    stem = "forward.grad_norm."
    norms = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
    assert norms.keys() == gradients.keys()
    floor = max(norms.values()) * 1e-6
    for key, norm in norms.items():
        # Nothing comes after the residual half of a last layer, which we therefore leave out.
        found = torch.tensor(0.0) if gradients[key] is None else gradients[key].norm()
        assert abs(found - norm) <= BOUND["grad_norm"] * norm + floor, key


def test_audio_of_given_noise_is_the_reference_s(reference):
    model, tensors, metadata = reference
    for flow in (model, fuse(model)):
        audio = flow.inverse(noise(tensors, metadata), tensors["reverse.mel"])
        assert distance(audio, tensors["reverse.audio"][:, 0]) < BOUND["audio"]


def test_log_density_of_generated_audio_is_the_reference_s(reference):
    model, tensors, _ = reference
    found = nats_per_sample(*model(tensors["reverse.audio"][:, 0], tensors["reverse.mel"]))
    expected = tensors["reverse.forward_log_p"].double() + tensors["reverse.forward_logdet"].double()
    assert distance(found, expected) < BOUND["log_density"]


def test_upsampled_mel_is_the_reference_s(reference):
    model, tensors, _ = reference
    found = model.upsample(tensors["reverse.mel"])
    assert distance(found, tensors["reverse.mel_upsampled"]) < BOUND["z"]
    grouped = model.features(tensors["reverse.mel"])
    assert torch.equal(ungroup_samples(grouped, model.n_group), found)


def test_first_batch_sets_the_reference_s_normalisation(reference):
    model, tensors, _ = reference
    norms = {}
    for b, scale in enumerate(model.flow.steps[1].scales):
        for k, norm in enumerate(scale.steps.steps[::3]):
            norm.initialized.fill_(False)
            norms[f"blocks.{b}.flows.{k}.actnorm"] = norm
    found = nats_per_sample(*model.train()(audio_of(tensors), tensors["forward.mel"]))
    expected = tensors["actnorm_init.log_p"].double() + tensors["actnorm_init.logdet"].double()
    assert distance(found, expected) < BOUND["log_density"]
    assert len(norms) == 6
    for key, norm in norms.items():
        for part in ("loc", "scale"):
            theirs = tensors[f"actnorm_init.state_dict.{key}.{part}"].flatten()
            assert distance(getattr(norm, part), theirs) < BOUND["actnorm"], key


def test_a_negative_scale_counts_by_its_size():
    state, _, _ = golden(NAME)
    assert any((value < 0).any() for key, value in state.items() if key.endswith("actnorm.scale"))


def test_another_mel_or_noise_would_be_noticed(reference):
    model, tensors, metadata = reference
    z, mel = noise(tensors, metadata), tensors["reverse.mel"]
    for changed in ((z.roll(1, dims=-1), mel), (z, mel.roll(1, dims=-1))):
        assert distance(model.inverse(*changed), tensors["reverse.audio"][:, 0]) > 0.01


def test_latent_has_the_density_that_the_reference_names_log_p(reference):
    model, tensors, _ = reference
    z, _ = model(audio_of(tensors), tensors["forward.mel"])
    last = tensors["forward.z_last"]
    share = -0.5 * (math.log(2 * math.pi) + last.double().square()).sum() / z.numel()
    split = tensors["forward.block.1.log_p"].double() / z.numel()
    assert distance(share + split, tensors["forward.log_p"]) < BOUND["log_density"]
