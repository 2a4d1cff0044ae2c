import math

import pytest
import torch

from waveflow.adapters import coqui, espnet
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_convert import convert_mel

# The defaults of Coqui's BaseAudioConfig.
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


def test_coquis_statistics_are_undone():
    audio = {"stats_path": "scale_stats.npy", "mel_fmax": 8000.0}
    source = coqui(audio, mean=[-40.0] * 80, std=[15.0] * 80)
    normal = torch.randn(80, 7)
    level = normal * 15 - 40
    expected = MelSpectrogram(MelConfig()).compress(10 ** (level / 20))
    torch.testing.assert_close(convert_mel(normal, source, MelConfig()), expected, atol=1e-4, rtol=0)


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
