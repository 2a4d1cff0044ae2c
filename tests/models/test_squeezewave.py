"""SqueezeWave's own: its rates, its sizes and its statistics."""

import pytest
import torch
from tolerances import ROUND_TRIP

from waveflow.audio.mel import MelConfig
from waveflow.inference.fuse import fuse
from waveflow.losses import waveglow_loss
from waveflow.models import SIZES, MelContext, build

SMALL = {"n_flows": 4, "n_channels": 8, "n_layers": 2, "mel": MelConfig.preset("nvidia", n_mels=10)}


@pytest.mark.parametrize("n_group", [128, 256])
def test_a_mel_frame_makes_a_hop_of_samples_whatever_the_group(n_group):
    model = build("squeezewave", n_group=n_group, **SMALL).eval()
    z, mel = torch.randn(2, 3 * 256), torch.randn(2, 10, 3)
    assert model.inverse(z, mel).shape == z.shape


def test_named_sizes_are_the_paper_s():
    sizes = {name.split("-")[1]: config for name, (model, config) in SIZES.items() if model == "squeezewave"}
    assert sizes == {
        "128l": {"n_group": 128, "n_channels": 256},
        "128s": {"n_group": 128, "n_channels": 128},
        "64l": {"n_group": 256, "n_channels": 256},
        "64s": {"n_group": 256, "n_channels": 128},
    }


def test_training_moves_the_statistics_and_the_folded_copy_follows():
    model = build("squeezewave", **SMALL).train()
    z, mel = torch.randn(2, 1024), torch.randn(2, 10, 4)
    before = fuse(model).inverse(z, mel)
    norm = model.flow.steps[1].steps[0].steps[1].conditioner.separable[0].norm
    torch.nn.init.normal_(model.flow.steps[1].steps[0].steps[1].conditioner.end.weight, std=0.05)
    waveglow_loss(*model(0.1 * z, mel)).backward()
    assert norm.num_batches_tracked == 1
    assert norm.running_mean.abs().max() > 0
    after = fuse(model).inverse(z, mel)
    assert (after - before).abs().max() > 0.01
    assert (after - model.eval().inverse(z, mel)).abs().max() < ROUND_TRIP[torch.float32]


def test_padding_does_not_reach_the_latent_or_the_statistics_in_training():
    models = [build("squeezewave", **SMALL).train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    audio, mel, lengths = torch.randn(2, 1024), torch.randn(2, 10, 4), torch.tensor([1024, 512])
    noisy = audio.clone()
    noisy[1, 512:] = 100
    found = [m(x, MelContext(mel, lengths)) for m, x in zip(models, (audio, noisy))]
    assert torch.equal(found[0][0], found[1][0])
    for one, other in zip(models[0].buffers(), models[1].buffers()):
        assert torch.equal(one, other)


def test_a_group_that_does_not_divide_the_hop_is_refused():
    with pytest.raises(ValueError, match="hop_length=256 is no multiple of n_group=96"):
        build("squeezewave", n_group=96)


def test_early_outputs_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="leaves 0 channels"):
        build("squeezewave", n_group=128, n_early_size=128, n_early_every=6)
