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


@pytest.mark.parametrize("name", ["nvidia", "espnet", "vocos", "bigvgan_24khz", "bigvgan_44khz", "nemo"])
def test_predictions_that_overshoot_the_floor_are_recognised(name, speech):
    config = MelConfig.preset(name)
    mel = MelSpectrogram(config)(io.resample(speech, 22050, config.sample_rate))
    noise = 0.05 * mel.std() * torch.randn(mel.shape, generator=torch.Generator().manual_seed(0))
    predicted = (mel + noise).index_fill(1, torch.tensor([0]), config.floor - 0.2)
    assert diagnose(predicted).convention == diagnose(mel).convention


def test_a_lower_floor_than_nvidia_s_is_still_its_logarithm(speech):
    quiet = MelConfig(clip=1e-7)
    mel = MelSpectrogram(quiet)(torch.cat([speech, torch.zeros(2048)]))
    found = diagnose(mel)
    assert found.convention == "ln, clipped lower than nvidia's"
    assert found.remedy == "convert it with waveflow.audio.mel_convert.convert_mel"
    assert diagnose(mel, MelConfig(clip=1e-12)).remedy == "its values are what the vocoder expects"


def test_a_vocoder_knows_mels_of_its_own_statistics(speech):
    raw = MelSpectrogram(MelConfig.preset("espnet"))(speech)
    own = MelConfig.preset("espnet", mean=raw.mean(-1).tolist(), std=raw.std(-1).tolist())
    found = diagnose(MelSpectrogram(own)(speech), own)
    assert (found.convention, found.remedy) == ("the vocoder's own", "its values are what the vocoder expects")
    assert found.confidence > 0.5


def test_values_beyond_a_ceiling_or_a_floor_are_not_of_that_scale(speech):
    linear = MelSpectrogram().linear(speech)
    for mel in (linear * 2 / linear.max(), MelSpectrogram()(speech) / 6 + 0.9):
        assert diagnose(mel).convention != "flowavenet"


@pytest.mark.parametrize("mel", [torch.rand(80, 200) * 500, torch.zeros(80, 200), torch.full((80, 200), -11.51)])
def test_numbers_that_are_no_mel_are_unknown(mel):
    found = diagnose(mel)
    assert (found.convention, found.config) == ("unknown", None)
    assert "recompute" in found.remedy
    assert 0 <= found.confidence <= 1


def test_frame_counts_tell_where_frames_lie(speech):
    nvidia, hifigan = MelSpectrogram()(speech), MelSpectrogram(MelConfig.preset("hifigan"))(speech)
    assert "centred on hops" in str(diagnose(nvidia, n_samples=len(speech)))
    assert "half a hop later" in str(diagnose(hifigan, n_samples=len(speech)))


def test_frames_that_lie_elsewhere_are_not_what_the_vocoder_expects(speech):
    contracts = {padding: MelConfig(padding=padding) for padding in ("center", "same")}
    for padding, contract in contracts.items():
        mel, n_samples = MelSpectrogram(contract)(speech), len(speech)
        assert diagnose(mel, contract, n_samples).remedy == "its values are what the vocoder expects"
        other = contracts["same" if padding == "center" else "center"]
        assert f"convert_mel from padding='{padding}'" in diagnose(mel, other, n_samples).remedy
    assert "another hop cannot be converted" in diagnose(mel, contract, n_samples // 2).remedy


def test_the_remedy_says_what_the_target_needs(speech):
    mel = MelSpectrogram()(speech)
    assert diagnose(mel).remedy == "its values are what the vocoder expects"
    assert "convert_mel" in diagnose(mel, MelConfig(log="log10")).remedy
    vocos = MelConfig.preset("vocos")
    theirs = MelSpectrogram(vocos)(io.resample(speech, 22050, 24000))
    assert diagnose(theirs).remedy.startswith("it cannot be converted: sample_rate is 24000")


def test_a_logarithm_alone_tells_of_no_filterbank(speech):
    remedy = diagnose(MelSpectrogram(MelConfig(log="log10"))(speech)).remedy
    assert remedy.startswith(
        "if its filterbank and frames are of that convention too, it cannot be converted (f_min is"
    )
    assert remedy.endswith("if they are the vocoder's, convert it with waveflow.audio.mel_convert.convert_mel")


def test_batches_and_nan_are_refused():
    with pytest.raises(ValueError, match="expected finite"):
        diagnose(torch.full((80, 3), float("nan")))
    with pytest.raises(ValueError, match="give one item"):
        diagnose(torch.zeros(2, 80, 3))
