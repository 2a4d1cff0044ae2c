"""What models say of settings that no model could be built of."""

import dataclasses

import pytest

from waveflow.audio.mel import MelConfig
from waveflow.models import MODELS, build

TINY = {
    "waveglow": {"n_channels": 4, "n_flows": 2, "n_layers": 2},
    "lapglow": {"n_channels": 4, "n_flows": 2, "n_encoded": 4, "n_encoder_blocks": 1},
    "squeezewave": {"n_channels": 4, "n_flows": 2, "n_layers": 2},
    "waveflow": {"n_channels": 4, "n_flows": 2, "n_layers": 2},
    "flowavenet": {"n_channels": 4, "n_flows": 1, "n_blocks": 2},
    "wavenode": {"n_channels": 4, "n_layers": 2, "factors": [4, 2]},
}
NEVER = [-1, float("nan"), float("inf"), "1", [], [0], [-1], [1.5], ["a"]]
"""What no setting of any model may be."""

FIELDS = [(name, field.name) for name in TINY for field in dataclasses.fields(MODELS[name][1])]


def test_every_model_of_the_package_is_tried():
    assert TINY.keys() == MODELS.keys()


@pytest.mark.parametrize(("name", "setting"), FIELDS, ids="-".join)
def test_an_impossible_setting_is_refused_by_its_name(name, setting):
    for value in NEVER:
        with pytest.raises(ValueError, match=rf"^(unknown|{setting}\b)|\b{setting}="):
            build(name, **{**TINY[name], setting: value})


@pytest.mark.parametrize("name", TINY)
def test_whole_numbers_are_no_fractions_no_flags_and_not_missing(name):
    for value in (1.5, 2.0, True, None, 0):
        with pytest.raises(ValueError, match=rf"^n_channels is {value}, expected a whole number of at least 1$"):
            build(name, **{**TINY[name], "n_channels": value})


def test_numbers_that_may_be_zero_can_be():
    assert build("waveglow", **TINY["waveglow"], n_early_size=0, sigma=0).config.sigma == 0
    assert build("lapglow", **TINY["lapglow"] | {"n_encoded": 0, "n_encoder_blocks": 0}).encoder is None
    assert build("wavenode", **TINY["wavenode"], n_blocks_per_split=0)


def test_settings_that_are_changed_after_they_were_made_are_checked_too():
    model, config = MODELS["lapglow"]
    settings = config(**TINY["lapglow"])
    settings.dilations = [1, 0]
    with pytest.raises(ValueError, match=r"^dilations is \[1, 0\], expected a list of whole numbers of at least 1$"):
        model(settings)


@pytest.mark.parametrize("setting", ["sample_rate", "n_fft", "hop_length", "n_mels", "f_min", "power", "clip", "std"])
def test_a_mel_setting_of_the_wrong_kind_is_refused_by_its_name(setting):
    for value in ("a", float("nan"), [None], {}):
        with pytest.raises(ValueError, match=rf"^{setting} "):
            build("lapglow", mel={setting: value})


def test_what_is_no_mel_contract_is_refused():
    for value in (None, 3, ["nvidia"]):
        with pytest.raises(
            ValueError, match=r"^mel is .*, expected a MelConfig, its settings, or the name of a preset$"
        ):
            build("lapglow", mel=value)
    assert build("lapglow", **TINY["lapglow"], mel=MelConfig(hop_length=128)).n_group == 128
