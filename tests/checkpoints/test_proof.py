import pytest
import torch
from small_models import moved
from waveglow_files import random_waveglow

from waveflow.bijections import AffineCoupling, InvertibleConv1x1
from waveflow.checkpoints import CheckpointError, prove
from waveflow.models import build

LAPGLOW = {
    "n_flows": 2,
    "n_channels": 8,
    "dilations": [1],
    "mel": {"n_mels": 5, "n_fft": 64, "win_length": 64, "hop_length": 16},
}


def test_a_sound_model_is_measured_and_left_as_it_was():
    model = random_waveglow(n_flows=5, n_group=8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    proof = prove(model)
    assert proof.n_samples == 8 * 256
    assert proof.round_trip_float64 < 1e-13 < proof.round_trip_float32 < 1e-5
    assert proof.jacobian_error < 1e-13
    assert 1 < proof.worst_condition < 1e3
    assert proof.log_det != 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_half_precision_model_stays_one():
    model = random_waveglow().half()
    prove(model)
    assert all(parameter.dtype == torch.float16 for parameter in model.parameters())


def test_another_model_can_be_proved_too():
    model = moved(build("lapglow", **LAPGLOW))
    assert prove(model).jacobian_error < 1e-12


def test_an_inverse_that_is_not_one_is_noticed(monkeypatch):
    invert = AffineCoupling.invert
    monkeypatch.setattr(
        AffineCoupling, "invert", lambda self, z, p: (invert(self, z, p)[0] + 1e-5, invert(self, z, p)[1])
    )
    with pytest.raises(CheckpointError, match=r"audio changes by .* in a round trip in float64"):
        prove(random_waveglow())


def test_a_log_det_that_is_not_the_jacobian_s_is_noticed(monkeypatch):
    log_abs_det = InvertibleConv1x1.log_abs_det
    monkeypatch.setattr(InvertibleConv1x1, "log_abs_det", lambda self: log_abs_det(self) + 1e-3)
    with pytest.raises(CheckpointError, match="log_det is off by"):
        prove(random_waveglow())


def test_a_negative_determinant_is_no_fault():
    model = random_waveglow()
    weight = model.flow.steps[1].steps[0].steps[0].weight
    weight.data[0] = -weight.data[0] * weight.data.det().sign()
    assert weight.det() < 0
    assert prove(model).jacobian_error < 1e-13


@pytest.mark.parametrize("scale", [0.0, 1e-9])
def test_a_singular_matrix_is_named(scale):
    model = random_waveglow()
    weight = model.flow.steps[1].steps[2].steps[0].weight
    weight.data[0] = weight.data[1] * (1 + scale)
    with pytest.raises(CheckpointError, match=r"flow\.steps\.1\.steps\.2\.steps\.0 is singular"):
        prove(model)
