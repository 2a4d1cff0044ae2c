import json

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from waveflow.audio.mel import MelConfig

PRESETS = ["nvidia", "hifigan", "vocos", "parallelwavegan", "flowavenet", "nemo"]


@pytest.mark.parametrize("name", PRESETS)
def test_config_survives_json(name):
    config = MelConfig.preset(name, hop_length=200)
    assert MelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown mel setting 'hop_lenght'; did you mean 'hop_length'"):
        MelConfig.from_dict({"hop_lenght": 256})


def test_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'hifigan'"):
        MelConfig.preset("hifi-gan")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"f_max": 12000.0}, r"0 <= f_min < f_max <= 11025 Hz"),
        ({"f_min": 8000.0}, "f_min"),
        ({"win_length": 2048}, "win_length 2048 exceeds n_fft 1024"),
        ({"hop_length": 1100}, "hop_length 1100 exceeds win_length 1024"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"n_mels": 79.5}, "n_mels is 79.5"),
        ({"padding": "left"}, "padding is 'left'"),
        ({"log": "log2"}, "log is 'log2'"),
        ({"clip": 0.0}, "clip 0.0"),
        ({"mean": [0.0, 1.0]}, "mean has 2 values, expected one or n_mels=80"),
        ({"std": [0.0]}, "std has the value 0.0"),
        ({"mean": float("nan")}, "all of them finite"),
    ],
)
def test_contradictory_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MelConfig(**settings)


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize("hop_length", [256, 255, 200, 1])
@pytest.mark.parametrize("n_samples", [5, 255, 256, 1000, 4096])
def test_number_of_frames_is_that_of_the_placement(padding, hop_length, n_samples):
    config = MelConfig(padding=padding, hop_length=hop_length)
    expected = n_samples // hop_length + (padding == "center")
    assert config.frames(n_samples) == expected
    assert config.samples(expected) == expected * hop_length


def test_nemo_rounds_frames_up_to_sixteen():
    config = MelConfig.preset("nemo")
    assert [config.frames(n) for n in (1, 15 * 256, 16 * 256)] == [16, 16, 32]


def test_floor_is_the_normalised_logarithm_of_the_clip():
    assert MelConfig().floor == pytest.approx(-11.512925)
    assert MelConfig.preset("parallelwavegan").floor == pytest.approx(-10)
    assert MelConfig.preset("flowavenet").floor == pytest.approx(0, abs=1e-12)
    assert MelConfig(n_mels=2, mean=[-1.0, -3.0], std=2.0).floor == pytest.approx((-11.512925 + 1) / 2)


def test_floor_follows_the_style_of_the_guard():
    assert MelConfig(clip_style="add").floor == pytest.approx(-11.512925)


def test_config_is_a_hydra_schema():
    schema = OmegaConf.structured(MelConfig)
    merged = OmegaConf.to_object(OmegaConf.merge(schema, {"f_max": None, "mean": [1.0], "n_mels": 100}))
    assert merged == MelConfig(f_max=None, mean=[1.0], n_mels=100)
    with pytest.raises(ConfigKeyError):
        OmegaConf.merge(schema, {"n_mel": 100})
