"""SqueezeWave against its authors' implementation: both modes of its normalisation, and the folded model."""

import pytest
import torch
from goldens import distance, golden
from tolerances import GOLDEN_SQUEEZEWAVE as BOUND

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.squeezewave import read_squeezewave
from waveflow.inference.fuse import fuse
from waveflow.losses import waveglow_loss
from waveflow.nn.separable import FoldedSeparableConv

NAME = "squeezewave_small_a128"


def model_of(name):
    state, tensors, metadata = golden(name)
    found = read_squeezewave(state, name)
    return found.build(MelConfig.preset("nvidia", n_mels=found.n_mels)), tensors, metadata


def latent(tensors, sigma):
    # The reference scales the early outputs' noise alone.
    noise = torch.cat([sigma * tensors["infer.noise.1"], tensors["infer.noise.0"]], dim=1)
    return noise.transpose(1, 2).flatten(1)


def as_channels(z, model):
    return z.view(len(z), -1, model.n_group).transpose(1, 2)


def gradients(state, tensors, prefix):
    """Loss and its gradients in train mode, by the reference's names."""
    state = {k: v.clone().requires_grad_(v.is_floating_point() and "running" not in k) for k, v in state.items()}
    found = read_squeezewave(state, NAME)
    model = found.build(MelConfig.preset("nvidia", n_mels=found.n_mels)).train()
    audio, mel = tensors["forward.audio"].requires_grad_(), tensors["forward.mel"].requires_grad_()
    z, log_det = torch.func.functional_call(model, found.weights, (audio, mel))
    loss = waveglow_loss(z, log_det)
    named = {"audio": audio, "mel": mel, **{k: v for k, v in state.items() if v.requires_grad}}
    return z, loss, dict(zip(named, torch.autograd.grad(loss, [*named.values()]))), found.weights


def test_config_is_read_off_the_shapes():
    model, _, metadata = model_of(NAME)
    theirs, ours = metadata["config"], model.config
    assert (ours.n_flows, ours.n_group, ours.n_early_every, ours.n_early_size) == (4, 128, 2, 16)
    assert ours.mel.n_mels == theirs["n_mel_channels"]
    assert {k: getattr(ours, k) for k in theirs["WN_config"]} == theirs["WN_config"]


def test_latent_log_s_and_log_det_are_the_reference_s():
    model, tensors, _ = model_of(NAME)
    log_s, log_det_w, steps = [], [], model.flow.steps[1]
    for conv, coupling in steps:
        conv.register_forward_hook(lambda _m, _i, out: log_det_w.append(out[1].sum()))
        coupling.conditioner.register_forward_hook(lambda _m, _i, out: log_s.append(out.chunk(2, dim=1)[1]))
    z, log_det = model(tensors["forward.audio"], tensors["forward.mel"])
    assert distance(as_channels(z, model), tensors["forward.z"]) < BOUND["z"]
    assert len(log_s) == len(log_det_w) == 4
    for k in range(4):
        assert distance(log_s[k], tensors[f"forward.log_s.{k}"]) < BOUND["log_s"]
        assert distance(log_det_w[k], tensors[f"forward.log_det_W.{k}"]) < BOUND["log_det_W"]
    assert distance(waveglow_loss(z, log_det), tensors["forward.loss_sigma_1.0"]) < BOUND["loss"]


def test_audio_of_given_noise_is_the_reference_s():
    model, tensors, metadata = model_of(NAME)
    audio = model.inverse(latent(tensors, float(metadata["sigma"])), tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio"]) < BOUND["audio"]


def test_latent_and_gradients_in_train_mode_are_the_reference_s():
    state, tensors, _ = golden(NAME)
    z, loss, found, _ = gradients(state, tensors, "forward_train")
    assert distance(z.view(2, -1, 128).transpose(1, 2), tensors["forward_train.z"]) < BOUND["z"]
    assert distance(loss, tensors["forward_train.loss_sigma_1.0"]) < BOUND["loss"]
    for name in ("audio", "mel"):
        assert distance(found.pop(name), tensors[f"forward_train.grad.{name}"]) < BOUND["gradient"]
    stem = "forward_train.grad_norm."
    norms = {key.removeprefix(stem): value for key, value in tensors.items() if key.startswith(stem)}
    assert norms.keys() == found.keys()
    # A normalisation takes the bias before it away, so that its gradient is rounding alone.
    floor = max(norms.values()) * 1e-6
    for key, norm in norms.items():
        assert abs(found[key].norm() - norm) <= BOUND["grad_norm"] * norm + floor, key


def test_running_statistics_after_one_batch_are_the_reference_s():
    model, tensors, _ = model_of(NAME)
    model.train()(tensors["forward.audio"], tensors["forward.mel"])
    stem = "forward_train.buffers_after."
    names = [key for key in tensors if key.startswith(stem)]
    assert len(names) == 3 * 12
    for key in names:
        _, k, _, i, _, statistic = key.removeprefix(stem).split(".")
        norm = model.flow.steps[1].steps[int(k)].steps[1].conditioner.separable[int(i)].norm
        if statistic == "num_batches_tracked":
            assert norm.num_batches_tracked == tensors[key]
        else:
            assert distance(getattr(norm, statistic), tensors[key]) < BOUND["statistics"], key


def test_our_folding_keeps_the_unfolded_audio_where_the_reference_s_does_not():
    model, tensors, metadata = model_of(NAME)
    _, folded_tensors, _ = golden(f"{NAME}_fused")
    fused = fuse(model)
    assert any(isinstance(module, FoldedSeparableConv) for module in fused.modules())
    z = latent(tensors, float(metadata["sigma"]))
    assert distance(fused.inverse(z, tensors["infer.mel"]), tensors["infer.audio"]) < BOUND["audio"]
    assert distance(folded_tensors["infer.audio"], tensors["infer.audio"]) > 100 * BOUND["audio"]


def test_a_folded_checkpoint_is_read_as_what_it_computes():
    model, tensors, metadata = model_of(f"{NAME}_fused")
    assert not model.config.batch_norm
    z, _ = model(tensors["forward.audio"], tensors["forward.mel"])
    assert distance(as_channels(z, model), tensors["forward.z"]) < BOUND["z"]
    audio = model.inverse(latent(tensors, float(metadata["sigma"])), tensors["infer.mel"])
    assert distance(audio, tensors["infer.audio"]) < BOUND["audio"]


@pytest.mark.parametrize("change", ["mel", "noise"])
def test_another_mel_or_noise_would_be_noticed(change):
    model, tensors, metadata = model_of(NAME)
    z, mel = latent(tensors, float(metadata["sigma"])), tensors["infer.mel"]
    if change == "mel":
        mel = mel.roll(1, dims=-1)
    else:
        z = z.roll(1, dims=-1)
    assert distance(model.inverse(z, mel), tensors["infer.audio"]) > 0.01
