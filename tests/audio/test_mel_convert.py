import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_convert import convert_mel, obstacles

NVIDIA = MelConfig()


@pytest.fixture(scope="module")
def speech():
    return io.read(sorted((DATA / "ljspeech" / "wavs").glob("*.flac"))[0])[0][: 22050 * 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"log": "log10"},
        {"log": "db"},
        {
            "log": "log10",
            "clip": 1e-10,
            "mean": [-2.0 - b / 80 for b in range(80)],
            "std": [0.5 + b / 80 for b in range(80)],
        },
        {"log": "db", "mean": -80.0, "std": 100.0},
        {"clip": 1e-7},
        {"clip": 1e-6, "clip_style": "add"},
        {"norm": None, "clip": 1e-9},
        {"periodic": False},
    ],
    ids=str,
)
def test_converted_mels_are_those_computed_from_the_audio(changes, speech):
    source = MelConfig(**changes)
    found = convert_mel(MelSpectrogram(source)(speech), source, NVIDIA)
    expected = MelSpectrogram(NVIDIA)(speech)
    # A symmetric window is not quite a periodic one.
    torch.testing.assert_close(found, expected, atol=0.1 if "periodic" in changes else 2e-3, rtol=0)


def test_a_floor_that_is_higher_stays(speech):
    source = MelConfig(clip=1e-2)
    found = convert_mel(MelSpectrogram(source)(speech), source, NVIDIA)
    torch.testing.assert_close(found, MelSpectrogram(NVIDIA)(speech).clamp_min(source.floor))


def test_hifigans_frames_are_moved_by_half_a_hop(speech):
    hifigan = MelConfig.preset("hifigan")
    given, expected = MelSpectrogram(hifigan)(speech), MelSpectrogram(NVIDIA)(speech)
    found = convert_mel(given, hifigan, NVIDIA)
    assert found.shape == expected.shape
    moved = (found - expected).abs().mean()
    assert moved < 0.75 * (given - expected[:, :-1]).abs().mean()
    assert convert_mel(expected, NVIDIA, hifigan).shape == given.shape


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (MelConfig(f_max=7600.0), "f_max is 7600.0, the target has 8000.0: another filterbank"),
        (MelConfig(n_fft=2048), "n_fft is 2048, the target has 1024: another FFT"),
        (MelConfig.preset("vocos"), "n_mels is 100"),
        (MelConfig(power=2.0), "sums of powers"),
        (MelConfig(sample_rate=16000), "another sample rate"),
    ],
)
def test_what_only_the_audio_can_tell_is_refused_with_the_reason(source, reason):
    with pytest.raises(ValueError, match=reason):
        convert_mel(torch.zeros(source.n_mels, 4) - 5, source, NVIDIA)
    assert obstacles(source, source) == []


def test_frames_before_bands_are_refused():
    with pytest.raises(ValueError, match=r"shape \(9, 80\).*transpose it"):
        convert_mel(torch.zeros(9, 80), NVIDIA, MelConfig(log="db"))
