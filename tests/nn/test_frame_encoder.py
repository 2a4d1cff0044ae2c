import torch

from waveflow.audio.mel import MelConfig
from waveflow.models import build
from waveflow.models.lapglow import mel_encoder
from waveflow.nn import FrameEncoder


def test_a_fresh_encoder_is_linear_and_a_trained_one_is_not():
    encoder = FrameEncoder(6, 5, 2).double()
    a, b, nothing = torch.randn(3, 6).double(), torch.randn(3, 6).double(), torch.zeros(3, 6).double()
    torch.testing.assert_close(encoder(a + b) + encoder(nothing), encoder(a) + encoder(b))
    for parameter in encoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert (encoder(a + b) + encoder(nothing) - encoder(a) - encoder(b)).abs().max() > 1e-3


def test_a_frame_is_told_only_what_is_among_its_features():
    encoder = FrameEncoder(6, 5, 2)
    x = torch.randn(1, 4, 6)
    changed = x.clone()
    changed[:, 2] += 1
    told = (encoder(changed) - encoder(x)).abs().amax(2)[0]
    assert told[2] > 0
    assert told[[0, 1, 3]].max() == 0


def test_silence_and_full_scale_are_as_far_from_zero_under_any_convention():
    for preset in ("nvidia", "vocos", "flowavenet"):
        config = MelConfig.preset(preset)
        encoder = mel_encoder(config, 4, 1)
        for level, expected in ((config.clip, -2.0), (1.0, 2.0)):
            value = torch.tensor(config.normalized(config.log_of(level)))
            torch.testing.assert_close((value - encoder.centre) / encoder.spread, torch.full_like(value, expected))


def test_statistics_of_each_band_are_those_of_its_four_frames():
    statistics = {"mean": [-5.0, -6.0, -7.0], "std": [1.0, 2.0, 3.0]}
    config = MelConfig(n_fft=64, win_length=64, hop_length=16, n_mels=3, **statistics)
    model = build("lapglow", mel=config, n_flows=1, n_channels=4, dilations=[1], n_encoded=5)
    assert model.encoder.centre.shape == (12,)
    assert torch.equal(model.encoder.centre[:3], model.encoder.centre[9:])
    assert model.features(torch.zeros(2, 3, 7)).shape == (2, 5, 7)
