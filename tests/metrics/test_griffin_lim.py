import pytest
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.metrics import griffin_lim, log_mel_l1, pesq


def test_it_gives_speech_whose_mel_is_close(speech):
    audio, rate = speech
    transform = MelSpectrogram()
    made = griffin_lim(transform(audio), transform.config)
    assert made.shape == (transform.config.samples(transform.config.frames(len(audio))),)
    made = made[: len(audio)]
    assert float(log_mel_l1(audio, made, transform)) < 0.12
    assert pesq(audio, made, rate) > 3.3


def test_least_squares_and_momentum_each_beat_the_textbook(speech):
    audio, _ = speech
    transform = MelSpectrogram()
    mel = transform(audio)

    def distance(**options):
        made = griffin_lim(mel, transform.config, n_iterations=30, **options)[: len(audio)]
        return float(log_mel_l1(audio, made, transform))

    textbook = distance(momentum=0.0, n_filterbank_steps=0)
    assert distance(momentum=0.0) < textbook
    assert distance(n_filterbank_steps=0) < textbook


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"power": 2.0, "clip": 1e-10, "log": "log10", "mean": -2.0, "std": 1.5},
        {"win_length": 800, "hop_length": 200, "clip_style": "add"},
        {"epsilon": 1e-9, "f_max": None, "pad_to": 16},
    ],
)
def test_every_convention_comes_back_near_its_mel(speech, padding, changes):
    audio, _ = speech
    config = MelConfig(padding=padding, **changes)
    transform = MelSpectrogram(config)
    mel = transform(audio)
    made = griffin_lim(mel, config)
    assert made.shape == (config.samples(mel.shape[-1]),)
    n = min(len(audio), len(made))
    assert float(log_mel_l1(audio[:n], made[:n], MelSpectrogram())) < 0.25


def test_the_seed_decides_and_a_batch_gives_each_item_its_own_length(speech):
    audio, _ = speech
    config = MelConfig()
    mel = MelSpectrogram(config)(audio[: 2 * 8192].reshape(2, 8192))
    first = griffin_lim(mel, config, n_iterations=3)
    assert first.shape == (2, 33 * 256)
    assert torch.equal(first, griffin_lim(mel, config, n_iterations=3))
    assert not torch.equal(first, griffin_lim(mel, config, n_iterations=3, seed=1))


@pytest.mark.parametrize("padding", ["center", "same"])
def test_one_frame_is_enough(padding):
    config = MelConfig(padding=padding)
    made = griffin_lim(torch.full((80, 1), -3.0), config, n_iterations=2)
    assert made.shape == (256,)
    assert made.isfinite().all()


def test_a_silent_mel_gives_near_silence():
    config = MelConfig()
    made = griffin_lim(torch.full((80, 20), config.floor), config, n_iterations=5)
    assert made.abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(80, 0), (79, 5), (5, 80), (1, 1, 80, 5)])
def test_a_mel_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="expected \\(n_mels, F\\) or \\(B, n_mels, F\\) with n_mels=80"):
        griffin_lim(torch.zeros(shape), MelConfig())
