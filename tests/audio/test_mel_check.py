import math

import pytest
import torch
from conftest import DATA, shared

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram, check_mel

NVIDIA = MelConfig()
PRESETS = ["nvidia", "hifigan", "vocos", "parallelwavegan", "flowavenet", "nemo", "bigvgan_44khz"]
CLIPS = sorted(DATA.glob("*/wavs/*.flac"))


@pytest.fixture(scope="module", params=CLIPS, ids=lambda path: path.stem)
def speech(request):
    return io.read(request.param)[0]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("level", [1.0, 0.1])
def test_mel_of_speech_passes(preset, level, speech):
    config = MelConfig.preset(preset)
    check_mel(MelSpectrogram(config)(level * speech / speech.abs().max()), config)


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [20, 5, -20])
def test_mel_of_loud_noisy_speech_passes(colour, snr, speech):
    noise = torch.fft.rfft(torch.randn_like(speech))
    if colour == "pink":
        noise = noise / torch.arange(len(noise)).clamp(min=20).sqrt()
    noise = torch.fft.irfft(noise, n=len(speech))
    audio = speech + noise * speech.std() / noise.std() * 10 ** (-snr / 20)
    check_mel(MelSpectrogram()(audio / audio.abs().max()), NVIDIA)


@pytest.mark.parametrize("preset", PRESETS)
def test_mel_of_silence_passes(preset):
    config = MelConfig.preset(preset)
    check_mel(MelSpectrogram(config)(torch.zeros(config.sample_rate)), config)


def test_single_frame_passes(speech):
    check_mel(MelSpectrogram()(speech)[:, 40:41], NVIDIA)


def test_square_mel_passes_as_it_is():
    check_mel(torch.randn(80, 80) - 5, NVIDIA)


def refused(mel, message, config=NVIDIA):
    with pytest.raises(ValueError, match=message):
        check_mel(mel, config)


def test_transposed_mel_is_recognised():
    refused(torch.zeros(31, 80), r"shape \(31, 80\), which is transposed.*pass mel.transpose\(-1, -2\)")
    refused(torch.zeros(2, 31, 80), "transposed")


def test_wrong_number_of_bands_is_refused_with_the_remedy():
    refused(
        torch.zeros(2, 100, 7),
        "mel has 100 bands, the model expects n_mels=80; recompute it with vocoder.mel",
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_counted(bad):
    mel = torch.full((80, 9), -5.0)
    mel[3, 4] = mel[0, 0] = bad
    refused(mel, "2 NaN or infinite values of 720")


def test_mel_without_frames_is_refused():
    refused(torch.zeros(80, 0), "no frames")
    refused(torch.zeros(0, 80, 10), "no frames")


def test_integers_are_refused():
    refused(torch.zeros(80, 10, dtype=torch.int16), "torch.int16, expected floating-point")


def test_other_objects_and_shapes_are_refused():
    refused([[0.0]], "mel is a list, expected a torch tensor")
    refused(torch.zeros(80), r"shape \(80,\), expected \(n_mels, F\)")


@pytest.mark.parametrize(
    ("given", "expected"), [("log10", "ln"), ("db", "ln"), ("ln", "log10"), ("ln", "db"), ("db", "log10")]
)
def test_other_logarithm_is_named_with_its_factor(given, expected, speech):
    config = MelConfig(log=expected)
    mel = MelSpectrogram(MelConfig(log=given))(speech)
    with pytest.raises(ValueError, match=f"look like log '{given}'") as error:
        check_mel(mel, config)
    factor = float(str(error.value).split("multiply them by ")[1].split()[0])
    torch.testing.assert_close(mel * factor, MelSpectrogram(config)(speech), atol=1e-3, rtol=0)


def test_linear_magnitudes_are_refused(speech):
    refused(MelSpectrogram()(speech).exp(), "louder than full-scale noise in every band, as linear")


def test_values_scaled_to_one_are_refused(speech):
    refused(MelSpectrogram(MelConfig.preset("flowavenet"))(speech), "as linear or 0..1 scaled mels are")


def test_logarithms_are_refused_where_a_scaled_mel_is_expected(speech):
    refused(MelSpectrogram()(speech), "not those of audio", MelConfig.preset("flowavenet"))


def test_short_values_beyond_any_audio_are_refused():
    refused(torch.full((80, 1), 9.0), "not those of audio")
    refused(torch.full((80, 1), -60.0), "not those of audio")


@pytest.mark.slow
@pytest.mark.parametrize("speaker", ["ljspeech", "kathleen", "flemishguy", "nathalie", "kerstin"])
def test_no_recording_is_refused_and_most_log10_mels_are(speaker):
    module = MelSpectrogram()
    mels = [module(io.read(p, 22050)[0]) for p in sorted(shared(f"speech/{speaker}/wavs").glob("*.flac"))[::20]]
    recognised = 0
    for mel in mels:
        check_mel(mel, NVIDIA)
        try:
            check_mel(mel / math.log(10), NVIDIA)
        except ValueError:
            recognised += 1
    assert recognised >= 0.9 * len(mels)
