import pytest
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_convert import convert_mel
from waveflow.audio.nemo import nemo

# The preprocessor of NeMo's fastpitch_align_v1.05.yaml.
FASTPITCH = {
    "features": 80, "lowfreq": 0, "highfreq": 8000, "n_fft": 1024, "n_window_size": 1024, "window_size": False,
    "n_window_stride": 256, "window_stride": False, "pad_to": 1, "pad_value": 0, "sample_rate": 22050, "window": "hann",
    "normalize": None, "preemph": None, "dither": 0.0, "frame_splicing": 1, "log": True, "log_zero_guard_type": "add",
    "log_zero_guard_value": 1e-5, "mag_power": 1.0,
}  # fmt: skip


def test_nemos_preprocessor_is_its_preset():
    section = {**FASTPITCH, "pad_to": 16, "pad_value": -11.52, "log_zero_guard_type": "clamp"}
    assert nemo(section, pad_mode="reflect") == MelConfig.preset("nemo")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalize": "per_feature"}, "normalize='per_feature' and"),
        ({"log": False}, "log=False"),
        ({"window": "blackman"}, "window='blackman'"),
        ({"frame_splicing": 3}, "frame_splicing=3"),
        ({"pad_to": "max"}, "pad_to='max'"),
    ],
)
def test_what_a_nemo_mel_cannot_undo_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        nemo({**FASTPITCH, **changes})


def test_what_a_nemo_section_leaves_out_is_said_to_be_nemos_own():
    with pytest.raises(ValueError, match=r"preemph=0.97, NeMo's own where the section leaves it out"):
        nemo({"features": 80, "sample_rate": 22050})
    assert nemo({"preemph": None, "normalize": None}) == MelConfig.preset(
        "nemo", sample_rate=16000, n_fft=512, win_length=320, hop_length=160, n_mels=64, f_max=None, power=2.0,
        clip=2**-24, clip_style="add", pad_mode="constant", pad_value=0.0,
    )  # fmt: skip


def test_settings_may_lie_under_params_and_numbers_may_be_text():
    text = {"log_zero_guard_value": "1e-05", "n_fft": "1024", "sample_rate": "22050"}
    assert nemo({"params": {**FASTPITCH, **text}}) == nemo(FASTPITCH)
    assert nemo({**{key: FASTPITCH[key] for key in FASTPITCH if key != "features"}, "nfilt": 80}) == nemo(FASTPITCH)


def test_windows_may_be_told_in_seconds():
    seconds = {"n_window_size": False, "window_size": 1024 / 22050, "n_window_stride": None, "window_stride": 0.0125}
    found = nemo({**FASTPITCH, "n_fft": None, **seconds})
    assert (found.win_length, found.hop_length, found.n_fft) == (1024, 275, 1024)


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": "fast"},
        {"sample_rate": [22050]},
        {"sample_rate": None},
        {"n_window_size": {}},
        {"mag_power": True},
        {"highfreq": "1e999"},
        {"log_zero_guard_value": "small"},
    ],
)
def test_what_is_no_number_is_refused_by_name(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}=.*: expected a number"):
        nemo({**FASTPITCH, **change})


def test_fastpitchs_mels_become_nvidias_of_the_same_audio():
    t = torch.arange(22050) / 22050
    audio = sum(0.05 * torch.sin(2 * torch.pi * 150 * k * t) for k in range(1, 20)) * torch.sin(torch.pi * t)
    theirs, ours = MelSpectrogram(nemo(FASTPITCH))(audio), MelSpectrogram(MelConfig())(audio)
    assert theirs.shape == ours.shape
    found = convert_mel(theirs, nemo(FASTPITCH), MelConfig())
    loud = ours > -6
    assert (found - ours)[loud].abs().mean() < 0.05
    with pytest.raises(ValueError, match=r"preemph=0.97"):
        nemo({**FASTPITCH, "preemph": 0.97})
