"""Each preset against the reference that it is named after, librosa, or its own definition."""

import librosa
import numpy as np
import pytest
import torch
from conftest import DATA, shared
from safetensors.torch import load_file

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram

# The bounds of the vectors' own README: band values near the clip differ between STFT implementations.
GOLDEN_MAX, GOLDEN_MEAN = 2e-3, 1e-5
# Largest difference over largest value: torchaudio computes its filterbank in float32, librosa in float64,
# which shows where a quiet band lies beside a loud one.
LIBRARY, LIBRARY_MEAN = 1e-4, 1e-5

GOLDENS = {
    "tacotron2": ("nvidia", {}, None),
    "squeezewave": ("squeezewave", {}, None),
    "squeezewave_16384": ("squeezewave", {"padding": "same"}, 16384),
    "hifigan": ("hifigan", {}, None),
    "hifigan_fmax_null": ("bigvgan_22khz", {}, None),
    "vocos": ("vocos", {}, None),
    "vocos_same_80": ("vocos", {"padding": "same", "sample_rate": 22050, "n_mels": 80}, None),
}


def assert_same(mel, expected):
    difference = (mel - expected).abs()
    assert difference.max() / expected.abs().max() < LIBRARY
    assert difference.mean() < LIBRARY_MEAN


@pytest.fixture(scope="module")
def speech():
    return io.read(DATA / "ljspeech/wavs/LJ001-0002.flac")[0]


@pytest.mark.parametrize("name", GOLDENS)
def test_preset_gives_the_mel_of_its_reference(name):
    vectors = load_file(shared("goldens/mels_lj001_0001.safetensors"))
    preset, changes, length = GOLDENS[name]
    mel = MelSpectrogram(MelConfig.preset(preset, **changes))(vectors["audio"][:length])
    difference = (mel - vectors[f"{name}.mel"]).abs()
    assert difference.max() < GOLDEN_MAX
    assert difference.mean() < GOLDEN_MEAN


def test_flowavenet_preset_gives_the_mel_of_its_reference_on_audio_at_its_peak():
    vectors = load_file(shared("goldens/mels_lj001_0001.safetensors"))
    audio = vectors["audio"] / vectors["audio"].abs().max() * 0.999
    assert_same(MelSpectrogram(MelConfig.preset("flowavenet"))(audio), vectors["flowavenet.mel"])


def librosa_mel(audio, config, magnitude=np.abs):
    """Mel magnitudes by librosa alone, reflect padding by numpy."""
    padded = np.pad(audio.numpy(), config.margins, mode=config.pad_mode)
    window = librosa.filters.get_window("hann", config.win_length, fftbins=config.periodic)
    spectrum = librosa.stft(
        padded, n_fft=config.n_fft, hop_length=config.hop_length, window=window,
        win_length=config.win_length, center=False,
    )  # fmt: skip
    basis = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.f_min, fmax=config.f_max,
        htk=config.mel_scale == "htk", norm=config.norm,
    )  # fmt: skip
    return torch.from_numpy(basis @ magnitude(spectrum))


@pytest.mark.parametrize("preset", ["nvidia", "parallelwavegan", "parallelwavegan_24khz"])
def test_preset_gives_librosa_mel(preset, speech):
    config = MelConfig.preset(preset)
    expected = librosa_mel(speech, config).clamp(min=config.clip).log()
    if config.log == "log10":
        expected = expected / np.log(10)
    assert_same(MelSpectrogram(config)(speech), expected)


@pytest.mark.parametrize("preset", ["hifigan", "matcha", "bigvgan_22khz", "bigvgan_24khz", "bigvgan_44khz"])
def test_preset_of_the_hifigan_family_gives_its_definition(preset, speech):
    config = MelConfig.preset(preset)
    linear = librosa_mel(speech, config, lambda x: np.sqrt(np.abs(x) ** 2 + 1e-9))
    mel = MelSpectrogram(config)(speech)
    assert mel.shape == (config.n_mels, len(speech) // config.hop_length)
    assert_same(mel, linear.clamp(min=1e-5).log())


def test_nemo_preset_gives_its_definition(speech):
    config = MelConfig.preset("nemo")
    mel = MelSpectrogram(config)(speech)
    n_frames = 1 + len(speech) // 256
    assert n_frames % 16  # otherwise the padding is not seen
    assert mel.shape == (80, 16 * (n_frames // 16 + 1))
    expected = librosa_mel(speech, config).clamp(min=1e-5).log()
    assert_same(mel[:, :n_frames], expected)
    assert (mel[:, n_frames:] == -11.52).all()


def test_parallelwavegan_statistics_give_zero_mean_and_unit_variance(speech):
    config = MelConfig.preset("parallelwavegan")
    raw = MelSpectrogram(config)(speech)
    stated = MelConfig.preset("parallelwavegan", mean=raw.mean(1).tolist(), std=raw.std(1).tolist())
    mel = MelSpectrogram(stated)(speech)
    torch.testing.assert_close(mel.mean(1), torch.zeros(80), atol=1e-5, rtol=0)
    torch.testing.assert_close(mel.std(1), torch.ones(80), atol=1e-5, rtol=0)
