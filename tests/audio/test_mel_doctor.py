import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.mel_doctor import diagnose

CLIPS = sorted(DATA.glob("*/wavs/*.flac"))
COQUI = MelConfig(log="db", clip=1e-4, mean=-30.0, std=12.5, ceiling=4.0)


@pytest.fixture(scope="module", params=CLIPS, ids=lambda path: path.stem)
def speech(request):
    return io.read(request.param, 22050)[0]


@pytest.mark.parametrize(
    ("config", "convention"),
    [
        (MelConfig(), "ln, as nvidia and hifigan"),
        (MelConfig.preset("hifigan"), "ln, as nvidia and hifigan"),
        (MelConfig.preset("espnet"), "log10, as parallelwavegan and espnet"),
        (MelConfig(log="db"), "dB"),
        (COQUI, "dB scaled to -4..4, as Coqui"),
        (MelConfig.preset("flowavenet"), "flowavenet"),
        (MelConfig.preset("vocos"), "vocos"),
        (MelConfig.preset("bigvgan_24khz"), "bigvgan_24khz"),
        (MelConfig.preset("bigvgan_44khz"), "bigvgan_44khz"),
        (MelConfig.preset("nemo"), "ln, as nvidia and hifigan"),
        (MelConfig.preset("parallelwavegan_24khz"), "log10, as parallelwavegan and espnet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_convention_of_speech_is_recognised_either_way_up(config, convention, speech):
    mel = MelSpectrogram(config)(io.resample(speech, 22050, config.sample_rate))
    found = diagnose(mel)
    assert (found.convention, found.transposed) == (convention, False)
    assert found.confidence > 0.5
    turned = diagnose(mel.T)
    assert (turned.convention, turned.transposed, turned.confidence) == (convention, True, found.confidence)


def test_normalised_mels_need_their_statistics(speech):
    mel = MelSpectrogram(MelConfig.preset("espnet"))(speech)
    found = diagnose((mel - mel.mean(-1, keepdim=True)) / mel.std(-1, keepdim=True))
    assert found.convention == "normalised by band statistics"
    assert "add its mean" in found.remedy


def test_numbers_that_are_no_mel_are_unknown():
    found = diagnose(torch.rand(80, 200) * 500)
    assert (found.convention, found.config) == ("unknown", None)
    assert "recompute" in found.remedy


def test_frame_counts_tell_where_frames_lie(speech):
    nvidia, hifigan = MelSpectrogram()(speech), MelSpectrogram(MelConfig.preset("hifigan"))(speech)
    assert "centred on hops" in str(diagnose(nvidia, n_samples=len(speech)))
    assert "half a hop later" in str(diagnose(hifigan, n_samples=len(speech)))


def test_the_remedy_says_what_the_target_needs(speech):
    mel = MelSpectrogram()(speech)
    assert diagnose(mel).remedy == "it is what the vocoder expects"
    assert "convert_mel" in diagnose(mel, MelConfig(log="log10")).remedy
    assert "another filterbank" in diagnose(MelSpectrogram(MelConfig.preset("espnet"))(speech)).remedy


def test_batches_and_nan_are_refused():
    with pytest.raises(ValueError, match="expected finite"):
        diagnose(torch.full((80, 3), float("nan")))
    with pytest.raises(ValueError, match="give one item"):
        diagnose(torch.zeros(2, 80, 3))
