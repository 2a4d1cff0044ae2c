"""FloWaveNet's own: which mel bands a coupling is told, the split, and the first batch."""

import pytest
import torch
from tolerances import ROUND_TRIP

from waveflow.audio.mel import MelConfig
from waveflow.bijections import AdditiveCoupling, NormalizingCoupling
from waveflow.losses import nats_per_sample
from waveflow.models import MelContext, build

MEL = MelConfig.preset("flowavenet", n_mels=6, n_fft=64, win_length=64, hop_length=16)
SMALL = {"mel": MEL, "n_blocks": 3, "n_flows": 2, "n_channels": 6, "n_blocks_per_split": 2}


def perturbed(**changes):
    model = build("flowavenet", **{**SMALL, **changes}).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def data(batch=2, n_frames=4):
    return torch.randn(batch, 16 * n_frames).double(), torch.randn(batch, 6, n_frames).double()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("n_flows", [1, 2, 3])
@pytest.mark.parametrize("n_blocks_per_split", [1, 2, 3])
def test_every_arrangement_is_a_bijection_with_the_right_log_det(affine, n_flows, n_blocks_per_split):
    model = perturbed(affine=affine, n_flows=n_flows, n_blocks_per_split=n_blocks_per_split)
    x, mel = data(batch=1, n_frames=1)
    z, log_det = model(x, mel)
    assert (model.inverse(z, mel) - x).abs().max() < ROUND_TRIP[torch.float64]
    jacobian = torch.autograd.functional.jacobian(lambda audio: model(audio, mel)[0][0], x)[:, 0]
    assert abs(torch.linalg.slogdet(jacobian).logabsdet - log_det[0]) < 1e-9


def test_couplings_take_turns_with_the_lower_and_the_upper_half_of_the_bands():
    for n_flows in (2, 3):
        model = perturbed(n_flows=n_flows)
        couplings = [c for scale in model.flow.steps[1].scales for c in scale.steps.steps[1::3]]
        turns = [coupling.conditioner.halves for coupling in couplings]
        assert turns == [(k % 2,) for k in range(3 * n_flows)]
    for n_flows, halves in ((2, (0, 1)), (3, (1, 0))):
        model = perturbed(n_flows=n_flows, n_blocks_per_split=1)
        assert model.flow.steps[1].scales[0].prior.conditioner.halves == halves


def test_the_first_half_of_the_context_is_the_lower_half_of_the_bands_at_every_rate():
    told = {}
    model = perturbed()
    for i, scale in enumerate(model.flow.steps[1].scales):
        coupling = scale.steps.steps[1]
        coupling.conditioner.conditioner.register_forward_pre_hook(
            lambda _m, inputs, i=i: told.update({i: inputs[1].features})
        )
    model.upsample = torch.nn.Upsample(scale_factor=16)
    mel = torch.arange(6.0).double().view(1, 6, 1).expand(1, 6, 4)
    model(torch.randn(1, 64).double(), mel)
    for i in range(3):
        bands = torch.arange(3.0).double().repeat_interleave(2 ** (i + 1))
        assert torch.equal(told[i][0], bands[:, None].expand(-1, 64 // 2 ** (i + 1)))


def test_additive_couplings_leave_the_determinant_to_the_normalisation_and_the_prior():
    model = perturbed(affine=False)
    for scale in model.flow.steps[1].scales:
        assert all(isinstance(coupling, AdditiveCoupling) for coupling in scale.steps.steps[1::3])
        assert scale.prior is None or isinstance(scale.prior, NormalizingCoupling)


def test_half_of_the_channels_leave_after_every_so_many_blocks_but_not_after_the_last():
    with torch.device("meta"):
        scales = build("flowavenet").flow.steps[1].scales
    assert [scale.prior is not None for scale in scales] == [False] * 3 + [True] + [False] * 4
    assert [len(scale.steps.steps[0].loc) for scale in scales] == [2, 4, 8, 16, 16, 32, 64, 128]


def test_first_batch_in_training_normalises_every_flow_and_leaves_padding_out():
    (x, mel), lengths = data(), torch.tensor([64, 32])
    models = [build("flowavenet", **SMALL).double().train() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    noisy = x.clone()
    noisy[1, 32:] = 100
    for model, audio in zip(models, (x, noisy)):
        assert torch.isfinite(nats_per_sample(*model(audio, MelContext(mel, lengths)), lengths))
    for one, other in zip(models[0].state_dict().values(), models[1].state_dict().values()):
        torch.testing.assert_close(one, other)
    norms = [n for scale in models[0].flow.steps[1].scales for n in scale.steps.steps[::3]]
    # Fresh couplings change nothing, so that a later norm of a block may find its data normalised already.
    assert all(norm.initialized for norm in norms)
    assert norms[0].scale.ne(1).all()


def test_default_is_the_paper_s_model():
    with torch.device("meta"):
        model = build("flowavenet")
    assert model.n_group == model.config.mel.hop_length == 256
    # Millions, without the last residual layers, which nothing uses.
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(182.6, rel=0.03)


def test_a_hop_that_the_blocks_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="hop_length=256 is no multiple of n_group=512"):
        build("flowavenet", n_blocks=9)
