import pytest

from waveflow.inference import fuse
from waveflow.inference.counting import folded_gmac
from waveflow.models import build
from waveflow.models.cost import count_gmac


def test_a_folded_lapglow_is_counted_as_by_hand():
    model = build("lapglow", n_flows=2, n_channels=24, dilations=[1, 2], n_encoded=0)
    taps, told, after, last = 3 * 24 * 48, 320 * 48, 24 * (24 + 256), 24 * 256
    step = 128 * 24 + 2 * (taps + told) + after + last + 256 * 256
    transform = 320 * 256 + 256 * 256
    assert folded_gmac(model) == pytest.approx((2 * step + transform) * 22050 / 256 / 1e9)


def test_an_encoder_is_counted_once_for_all_steps():
    sizes = {"n_channels": 24, "n_encoded": 20, "n_encoder_blocks": 1}
    one, two = (folded_gmac(build("lapglow", n_flows=n, **sizes)) for n in (1, 2))
    without = folded_gmac(build("lapglow", n_flows=2, **sizes | {"n_encoder_blocks": 0}))
    block = 2 * 20 * 40 * 22050 / 256 / 1e9
    assert two - without == pytest.approx(block)
    plain = 320 * 20 + 256 * 20 + 256 * 256
    assert one - (two - one) == pytest.approx(block + plain * 22050 / 256 / 1e9)


def test_folding_halves_the_conditioning_of_waveglow():
    model = build("waveglow-64", n_flows=1)
    assert 0.4 * count_gmac(model) < folded_gmac(model) < 0.75 * count_gmac(model)


def test_a_model_that_cannot_be_folded_is_counted_as_fused():
    model = build("squeezewave", n_flows=2, n_channels=8, n_layers=2)
    assert folded_gmac(model) == count_gmac(fuse(model))
