import copy

import numpy as np
import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram

SMALL = {"n_fft": 64, "win_length": 64, "hop_length": 16, "n_mels": 6}


@pytest.fixture(scope="module")
def speech():
    return io.read(DATA / "ljspeech/wavs/LJ001-0002.flac")[0]


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize(
    ("sample_rate", "hop_length"), [(8000, 80), (16000, 200), (22050, 255), (44100, 512), (48000, 480)]
)
def test_any_rate_and_hop_gives_the_promised_frames(padding, sample_rate, hop_length):
    config = MelConfig(sample_rate=sample_rate, hop_length=hop_length, f_max=None, n_mels=40, padding=padding)
    for length in (sample_rate // 2, sample_rate // 2 + 1, 3000):
        mel = MelSpectrogram(config)(torch.randn(2, length))
        assert mel.shape == (2, 40, config.frames(length))
        assert mel.isfinite().all()


def test_a_batch_gives_each_item_what_it_gives_alone(speech):
    module = MelSpectrogram()
    batch = torch.stack([speech[:9000], speech[9000:18000]])
    mel = module(batch)
    assert mel.shape == (2, 80, 36)
    torch.testing.assert_close(mel[1], module(batch[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 5, 31, 32, 33])
def test_audio_shorter_than_the_margins_is_reflected_back_and_forth(length):
    audio = torch.randn(length)
    config = MelConfig(**SMALL)
    found = MelSpectrogram(config)(audio)
    padded = torch.from_numpy(np.pad(audio.numpy(), config.margins, mode="reflect" if length > 1 else "edge"))
    torch.testing.assert_close(found, MelSpectrogram(config)(padded, padded=True))
    assert found.shape == (6, 1 + length // 16)


@pytest.mark.parametrize("length", [0, 15])
def test_audio_shorter_than_one_frame_is_refused(length):
    with pytest.raises(ValueError, match=f"audio has {length} samples, expected at least 16"):
        MelSpectrogram(MelConfig(**SMALL, padding="same"))(torch.zeros(length))


def test_integers_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="divide 16-bit integers by 32768"):
        MelSpectrogram()(torch.zeros(4000, dtype=torch.int16))


def test_a_channel_dimension_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 2, 4000\), expected \(B, T\) or \(T,\)"):
        MelSpectrogram()(torch.zeros(1, 2, 4000))


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "vocos", "parallelwavegan", "flowavenet", "nemo"])
def test_gradient_agrees_with_finite_differences(preset):
    config = MelConfig.preset(preset, **SMALL, f_max=None, pad_mode="reflect", ceiling=None)
    module = MelSpectrogram(config).double()
    audio = torch.randn(2, 70, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, audio)


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "flowavenet"])
def test_gradient_of_digital_silence_is_finite(preset):
    audio = torch.zeros(2000, requires_grad=True)
    MelSpectrogram(MelConfig.preset(preset))(audio).sum().backward()
    assert audio.grad.isfinite().all()


def test_float64_audio_is_computed_in_float64(speech):
    module = MelSpectrogram()
    double = module(speech.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(module(speech), double.float(), atol=1e-3, rtol=0)
    assert (module(speech) - double).abs().mean() < 1e-5


def test_module_in_half_precision_still_gives_the_mel(speech):
    module = MelSpectrogram()
    expected = module(speech)
    halved = copy.deepcopy(module).half().to(torch.bfloat16)
    assert torch.equal(halved(speech), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module(speech), expected)


def test_settings_are_no_part_of_the_state_dict():
    assert not MelSpectrogram().state_dict()


@pytest.mark.parametrize("padding", ["center", "same"])
def test_mel_of_a_crop_with_its_margins_is_the_crop_of_the_mel(padding, speech):
    config = MelConfig(padding=padding)
    module = MelSpectrogram(config)
    left, right = config.margins
    first, n_frames = 20, 30
    begin = first * 256
    end = begin + (n_frames - 1) * 256 + config.n_fft - left - right
    crop = module(speech[begin - left : end + right], padded=True)
    torch.testing.assert_close(crop, module(speech)[:, first : first + n_frames], atol=1e-4, rtol=0)


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "vocos", "parallelwavegan", "flowavenet", "nemo"])
def test_silence_is_the_mel_of_zeros(preset):
    module = MelSpectrogram(MelConfig.preset(preset))
    mel = module(torch.zeros(4096))
    n_frames = 1 + 4096 // 256 if preset != "hifigan" else 16
    torch.testing.assert_close(mel[:, :n_frames], module.silence(n_frames), atol=1e-6, rtol=0)
    assert mel[:, :n_frames].min() == pytest.approx(module.config.floor, abs=1e-6)


@pytest.mark.parametrize("style", ["clamp", "add"])
def test_decompress_is_the_inverse_of_compress(style):
    config = MelConfig(log="db", power=2.0, mean=-3.0, std=[*range(1, 81)], clip_style=style)
    module = MelSpectrogram(config).double()
    linear = torch.rand(80, 7, dtype=torch.float64) + 1e-3
    torch.testing.assert_close(module.decompress(module.compress(linear)), linear)
