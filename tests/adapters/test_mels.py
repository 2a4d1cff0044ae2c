import math

import pytest
import torch

from waveflow.adapters import coqui, espnet, nemo
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_convert import convert_mel

# The preprocessor of NeMo's fastpitch_align_v1.05.yaml, and the defaults of Coqui's BaseAudioConfig.
FASTPITCH = {
    "features": 80, "lowfreq": 0, "highfreq": 8000, "n_fft": 1024, "n_window_size": 1024, "window_size": False,
    "n_window_stride": 256, "window_stride": False, "pad_to": 1, "pad_value": 0, "sample_rate": 22050, "window": "hann",
    "normalize": None, "preemph": None, "dither": 0.0, "frame_splicing": 1, "log": True, "log_zero_guard_type": "add",
    "log_zero_guard_value": 1e-5, "mag_power": 1.0,
}  # fmt: skip
COQUI = {
    "fft_size": 1024, "win_length": 1024, "hop_length": 256, "frame_shift_ms": None, "frame_length_ms": None,
    "stft_pad_mode": "reflect", "sample_rate": 22050, "resample": False, "preemphasis": 0.0, "ref_level_db": 20,
    "do_sound_norm": False, "num_mels": 80, "mel_fmin": 0.0, "mel_fmax": None, "spec_gain": 20, "signal_norm": True,
    "min_level_db": -100, "symmetric_norm": True, "max_norm": 4.0, "clip_norm": True, "stats_path": None,
}  # fmt: skip
MAGNITUDE = torch.tensor([1e-6, 1e-5, 1e-3, 0.1, 0.9]).expand(80, 5)


def test_coquis_levels_are_those_of_its_formula():
    audio = {"ref_level_db": 20, "min_level_db": -100, "max_norm": 4.0, "mel_fmax": 8000.0}
    mel = MelSpectrogram(coqui(audio)).compress(MAGNITUDE)
    level = 20 * MAGNITUDE.clamp(min=1e-5).log10() - 20
    torch.testing.assert_close(mel, (8 * (level + 100) / 100 - 4).clamp(-4, 4), atol=1e-5, rtol=1e-5)
    mel = MelSpectrogram(coqui({**audio, "symmetric_norm": False, "max_norm": 1.0})).compress(MAGNITUDE)
    torch.testing.assert_close(mel, ((level + 100) / 100).clamp(0, 1), atol=1e-5, rtol=1e-5)


def test_coquis_natural_logarithm_is_nvidias():
    audio = {"log_func": "np.log", "spec_gain": 1, "signal_norm": False, "mel_fmax": 8000.0}
    mel = MelSpectrogram(MelConfig()).compress(MAGNITUDE)
    torch.testing.assert_close(convert_mel(mel, coqui(audio), MelConfig()), mel)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        ({"preemphasis": 0.97}, "preemphasis=0.97"),
        ({"stats_path": "scale_stats.npy"}, "stats_path='scale_stats.npy' with no mean and std"),
        ({"do_amp_to_db_mel": False}, "do_amp_to_db_mel=False"),
        ({"log_func": "np.log2"}, "log_func='log2'"),
    ],
)
def test_what_a_coqui_mel_cannot_undo_is_refused(audio, reason):
    with pytest.raises(ValueError, match=reason):
        coqui(audio)


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


def test_coquis_statistics_are_undone():
    audio = {"stats_path": "scale_stats.npy", "mel_fmax": 8000.0}
    source = coqui(audio, mean=[-40.0] * 80, std=[15.0] * 80)
    normal = torch.randn(80, 7)
    level = normal * 15 - 40
    expected = MelSpectrogram(MelConfig()).compress(10 ** (level / 20))
    torch.testing.assert_close(convert_mel(normal, source, MelConfig()), expected, atol=1e-4, rtol=0)


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


def test_coquis_defaults_need_only_their_bands_limited_to_become_nvidias():
    with pytest.raises(ValueError, match=r"f_max is 11025.0, the target has 8000.0: another filterbank"):
        convert_mel(torch.zeros(80, 3), coqui(COQUI), MelConfig())
    audio = {**COQUI, "mel_fmax": 8000.0}
    mel = MelSpectrogram(coqui(audio)).compress(MAGNITUDE)
    expected = MelSpectrogram(MelConfig()).compress(MAGNITUDE)
    torch.testing.assert_close(convert_mel(mel, coqui(audio), MelConfig())[:, 2:], expected[:, 2:], atol=1e-4, rtol=0)


def test_espnets_statistics_are_undone():
    source = espnet(mean=[-2.0] * 80, std=[0.5] * 80)
    normal = torch.randn(80, 7)
    torch.testing.assert_close(convert_mel(normal, source, espnet()), normal * 0.5 - 2)
    ln = espnet(log="ln")
    torch.testing.assert_close(convert_mel(normal, source, ln), (normal * 0.5 - 2) * math.log(10), atol=1e-4, rtol=0)
