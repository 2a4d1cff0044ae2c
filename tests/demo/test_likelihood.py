import pytest
import torch
from small_models import SMALL, small

from waveflow.demo.likelihood import nats_over_time
from waveflow.inference import Vocoder
from waveflow.models import build

OTHERS = {
    "squeezewave": {"n_channels": 16, "n_layers": 2},
    "waveflow": {"n_flows": 2, "n_channels": 8, "n_layers": 2},
}


@pytest.fixture(params=[*SMALL, *OTHERS])
def vocoder(request):
    name = request.param
    torch.manual_seed(0)
    if name in SMALL:
        return Vocoder(small(name), backend="reference")
    model = build(name, **OTHERS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return Vocoder(model, backend="reference")


@pytest.fixture
def audio(generator):
    return 0.1 * torch.randn(256 * 40 + 77, generator=generator)


def test_frames_add_up_to_the_log_likelihood(vocoder, audio):
    nats = nats_over_time(vocoder, audio)
    whole = audio[: 256 * 40]
    assert nats.shape == (40,)
    torch.testing.assert_close(nats.sum(), vocoder.log_prob(whole, vocoder.mel(whole)), rtol=1e-5, atol=0.1)


def test_a_click_is_seen_where_it_is(generator):
    vocoder = Vocoder(small("lapglow-raw"), backend="reference")
    audio = 0.01 * torch.randn(256 * 40, generator=generator)
    clicked = audio.clone()
    clicked[20 * 256 + 128] += 0.9
    change = (nats_over_time(vocoder, clicked) - nats_over_time(vocoder, audio)).abs()
    assert change.argmax() in (19, 20, 21)
    assert change[:8].max() < 0.01 * change.max()
