"""Costs that are counted, against arithmetic by hand and published figures."""

import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.models import build
from waveflow.models.cost import cost, count_gmac, count_parameters


def waveglow_macs(n_channels, n_layers=8, n_mels=80, n_group=8):
    """Multiply-accumulates of one vector of 8 samples, by hand."""
    total = n_mels * n_mels * 1024 / (256 / n_group)
    for k in range(12):
        width = n_group - 2 * (k // 4)
        total += width * width
        total += width // 2 * n_channels + n_channels * width
        total += n_mels * n_group * 2 * n_channels * n_layers
        total += n_layers * 3 * n_channels * 2 * n_channels
        total += (2 * n_layers - 1) * n_channels * n_channels
    return total


def test_waveglow_is_counted_as_by_hand_and_as_published():
    found = count_gmac(build("waveglow-256"))
    assert found == pytest.approx(waveglow_macs(256) * 22050 / 8 / 1e9, rel=1e-12)
    # 223.9 by arithmetic without the upsampling, 228.9 in SqueezeWave's README.
    assert 223.9 < found < 228.9


@pytest.mark.parametrize(
    ("name", "published"),
    [("squeezewave-128l", 3.69), ("squeezewave-128s", 1.04), ("squeezewave-64l", 2.16), ("squeezewave-64s", 0.69)],
)
def test_squeezewave_costs_what_its_authors_say(name, published):
    assert count_gmac(build(name)) == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize(
    ("name", "millions", "tolerance"),
    [("waveglow-256", 87.73, 0.001), ("waveflow-64", 5.91, 0.005), ("waveflow-96", 12.78, 0.005)],
)
def test_parameters_are_those_published(name, millions, tolerance):
    assert count_parameters(build(name)) / 1e6 == pytest.approx(millions, rel=tolerance)


def test_weight_norm_counts_once():
    with_norm = build("waveflow", n_flows=2, n_channels=4, n_layers=2)
    total = sum(p.numel() for p in with_norm.parameters())
    lengths = sum(p.numel() for name, p in with_norm.named_parameters() if name.endswith("original0"))
    assert lengths > 0
    assert count_parameters(with_norm) == total - lengths


def test_inverting_matrices_is_not_counted_and_bands_are():
    mel = MelConfig.preset("nvidia", n_mels=10)
    model = build("lapglow", n_flows=1, n_channels=8, dilations=[1], mel=mel, n_encoded=12, n_encoder_blocks=1)
    told = 12
    by_hand = 4 * 10 * told + 2 * told * 2 * told  # encoder
    by_hand += 256 * 256 + told * 256 + 256 * 256  # transform, gain, 1x1
    by_hand += 128 * 8 + told * 16 + 3 * 8 * 16 + 8 * 8 + 8 * 256
    assert count_gmac(model) == pytest.approx(by_hand * 22050 / 256 / 1e9, rel=1e-12)


def test_counting_leaves_the_model_as_it_was():
    model = build("squeezewave", n_flows=2, n_channels=8, n_layers=1).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = cost(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert found["receptive_field"] == model.receptive_field
    assert found["parameters"] == count_parameters(model)


def test_a_model_that_sees_without_limit_has_no_receptive_field(monkeypatch):
    model = build("lapglow", n_flows=1, n_channels=8, dilations=[1])
    monkeypatch.setattr(type(model), "receptive_field", property(lambda self: super(type(self), self).receptive_field))
    assert cost(model)["receptive_field"] is None
