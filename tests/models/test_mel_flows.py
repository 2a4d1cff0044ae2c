"""What every vocoder promises, whatever it is made of."""

import pytest
import torch
from tolerances import LOG_DET, PADDING, ROUND_TRIP

from waveflow.audio.mel import MelConfig
from waveflow.bijections import check_bijection
from waveflow.checkpoints import native
from waveflow.inference.fuse import fuse
from waveflow.models import MODELS, MelContext, build
from waveflow.nn import Context

MEL = MelConfig.preset("nvidia", n_mels=5, n_fft=32, win_length=32, hop_length=16, f_max=None, sample_rate=8000)
TINY = {
    "waveglow": {"n_flows": 3, "n_group": 4, "n_early_every": 2, "n_channels": 6, "n_layers": 2},
    "lapglow": {"n_flows": 2, "n_channels": 6, "dilations": [1, 2], "n_encoded": 4, "n_encoder_blocks": 2},
    "squeezewave": {"n_flows": 3, "n_group": 8, "n_early_size": 2, "n_channels": 6, "n_layers": 2},
    "flowavenet": {"n_blocks": 3, "n_flows": 3, "n_layers": 2, "n_channels": 6, "n_blocks_per_split": 1},
    "waveflow": {"n_flows": 3, "n_group": 8, "n_channels": 6, "n_layers": 3, "n_layers_per_cycle": 2},
}
TINY["wavenode"] = {
    **{"factors": [4, 2], "n_blocks_per_split": 1, "n_channels": 6, "n_layers": 2},
    **{"solver": "rk4", "n_steps": 8, "synthesis_solver": None, "synthesis_steps": None},
}
# An equation is solved to the fourth order of its steps, which is far from rounding.
SOLVED = {"wavenode": 1e-6}
# One evaluation in each block, so that the last of them still shows.
ONE_STEP = {"wavenode": {"solver": "euler", "n_steps": 1, "exact_trace": True}}
every = pytest.mark.parametrize("name", TINY)


def perturbed(name, dtype=torch.float64, **changes):
    """A fresh coupling is the identity: move every weight away."""
    model = build(name, mel=MEL, **{**TINY[name], **changes}).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for key, buffer in model.named_buffers():
            if "running" in key:
                buffer.add_(0.5 * torch.rand_like(buffer))
    return model


def data(n_frames=6, batch=3, dtype=torch.float64):
    return torch.randn(batch, n_frames * MEL.hop_length, dtype=dtype), torch.randn(batch, 5, n_frames, dtype=dtype)


def bound(name, table, dtype=torch.float64):
    return max(table[dtype], SOLVED.get(name, 0))


def largest(difference):
    return difference.abs().max().item()


def test_every_model_of_the_registry_is_tested_here():
    assert set(TINY) == set(MODELS)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_inverse_undoes_forward_and_forward_undoes_inverse(name, dtype):
    model, (x, mel) = perturbed(name, dtype), data(dtype=dtype)
    z, log_det = model(x, mel)
    assert z.shape == x.shape
    assert log_det.shape == (3,)
    assert largest(z - x) > 0.01
    assert largest(model.inverse(z, mel) - x) < bound(name, ROUND_TRIP, dtype)
    other = torch.randn_like(x)
    assert largest(model(model.inverse(other, mel), mel)[0] - other) < bound(name, ROUND_TRIP, dtype)


@pytest.mark.parametrize("name", [name for name in TINY if name not in SOLVED])
def test_what_is_promised_of_every_bijection_is_kept(name):
    check_bijection(perturbed(name), *data(n_frames=2, batch=2), tolerance=bound(name, LOG_DET))


@every
def test_inverse_and_log_det_agrees_with_inverse_and_forward(name):
    model, (z, mel) = perturbed(name, exact_trace=True) if name in SOLVED else perturbed(name), data(n_frames=1)
    x, log_det = model.inverse_and_log_det(z, mel)
    assert largest(x - model.inverse(z, mel)) < bound(name, ROUND_TRIP)
    assert largest(log_det + model(x, mel)[1]) < bound(name, LOG_DET)


@every
def test_padded_batch_gives_each_item_what_it_gives_alone(name):
    model, (x, mel) = perturbed(name, **ONE_STEP.get(name, {})), data()
    # The second item ends inside a frame, where the group of samples allows it.
    lengths = torch.tensor([96, 64 + model.n_group % MEL.hop_length, 32])
    context = MelContext(mel, lengths)
    z, log_det = model(x, context)
    audio, noise = model.inverse(x, context), x
    for i, n in enumerate(lengths.tolist()):
        own = mel[i : i + 1, :, : -(-n // MEL.hop_length)]
        alone, alone_log_det = model(x[i : i + 1, :n], own)
        assert largest(z[i, :n] - alone[0]) < PADDING
        assert largest(log_det[i] - alone_log_det[0]) < bound(name, LOG_DET)
        assert largest(audio[i, :n] - model.inverse(noise[i : i + 1, :n], own)[0]) < bound(name, ROUND_TRIP)
        assert not z[i, n:].any()
        assert not audio[i, n:].any()


@every
def test_nothing_beyond_the_receptive_field_reaches_a_sample(name):
    # Audio long enough that both ends of the field lie inside.
    model = perturbed(name, **ONE_STEP.get(name, {}))
    frames = 2 * (model.receptive_field // MEL.hop_length) + 8
    z, mel = data(frames, batch=1)
    first = frames // 2 * MEL.hop_length

    def reach(last):
        moved = ((model.inverse(z, mel) - before)[0].abs() > PADDING).nonzero()
        return max(first - moved.min(), moved.max() - last)

    before = model.inverse(z, mel)
    z[:, first : first + model.n_group] += 1.0
    by_latent = reach(first + model.n_group - 1)
    before = model.inverse(z, mel)
    mel[..., frames // 2] += 1.0
    by_mel = reach(first + MEL.hop_length - 1)
    assert model.receptive_field / 4 < max(by_latent, by_mel) <= model.receptive_field


@every
def test_the_mel_reaches_every_sample_and_gradients_every_parameter(name):
    model, (x, mel) = perturbed(name), data()
    mel.requires_grad_()
    z, log_det = model(x, mel)
    named = dict(model.named_parameters())
    found = torch.autograd.grad(z.square().sum() + log_det.sum(), [mel, *named.values()])
    for key, gradient in zip(["mel", *named], found):
        assert gradient.isfinite().all(), key
        assert largest(gradient) > 0, key
    assert (found[0].abs().amax(1) > 0).all()


@every
def test_fused_copy_sounds_the_same(name):
    model, (z, mel) = perturbed(name), data()
    assert largest(fuse(model).inverse(z, mel) - model.inverse(z, mel)) < bound(name, ROUND_TRIP)
    lengths = torch.tensor([96, 64, 32])
    both = [m.inverse(z, MelContext(mel, lengths)) for m in (model, fuse(model))]
    assert largest(both[0] - both[1]) < bound(name, ROUND_TRIP)


@every
def test_saved_model_is_the_same_flow(name, tmp_path):
    model, (x, mel) = perturbed(name, torch.float32), data(dtype=torch.float32)
    again = native.load(native.save(model, tmp_path / "model"))
    assert again.config == model.config
    assert torch.equal(again(x, mel)[0], model(x, mel)[0])


@every
def test_wrong_input_is_refused_with_the_remedy(name):
    model, (x, mel) = perturbed(name), data()
    with pytest.raises(ValueError, match="needs a mel"):
        model(x)
    with pytest.raises(ValueError, match=r"expected a mel, or MelContext"):
        model(x, Context(mel))
    with pytest.raises(ValueError, match=r"expected \(B, n_mels, F\) with n_mels=5"):
        model(x, mel[:, :4])
    with pytest.raises(ValueError, match=r"pass the whole mel"):
        model(x, mel[..., :5])
    with pytest.raises(ValueError, match="multiple of"):
        model(x[:, :-1], mel)
    with pytest.raises(ValueError, match="multiple of"):
        model.inverse(x[0], mel)


@pytest.mark.parametrize("name", ["waveglow", "squeezewave"])
def test_early_outputs_before_every_zeroth_step_are_refused_with_a_remedy(name):
    with pytest.raises(ValueError, match=r"expected at least 1; .* n_early_every=3"):
        build(name, mel=MEL, **{**TINY[name], "n_early_every": 0})
