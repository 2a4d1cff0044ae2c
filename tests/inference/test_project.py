import pytest
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.inference.project import project


@pytest.mark.parametrize("preset", ["nvidia", "hifigan", "vocos", "parallelwavegan"])
def test_overlap_add_undoes_the_spectrum_under_every_frame_placement(preset):
    transform = MelSpectrogram(MelConfig.preset(preset))
    audio = torch.randn(2, 256 * 30)
    again = transform.inverse_spectrum(transform.spectrum(audio), audio.shape[1])
    assert (again - audio)[:, : 256 * 29].abs().max() < 1e-4


def test_audio_that_has_the_mel_already_is_left_alone(audio):
    transform = MelSpectrogram()
    audio = audio[None, : 256 * 80]
    assert (project(audio, transform(audio), transform) - audio).abs().max() < 1e-4


def test_each_round_brings_audio_of_the_wrong_colour_closer(audio):
    transform = MelSpectrogram()
    audio = audio[None, : 256 * 80]
    target = transform(audio)
    coloured = torch.nn.functional.conv1d(audio[:, None], torch.tensor([[[0.7, -0.5, 0.2]]]), padding=1)[:, 0]
    distances = [(transform(project(coloured, target, transform, n)) - target).abs().mean() for n in range(4)]
    assert distances[1] < 0.5 * distances[0]
    assert distances[3] < distances[2] < distances[1]


def test_gains_are_bounded_so_that_silence_does_not_explode():
    transform = MelSpectrogram()
    silent = 1e-6 * torch.randn(1, 256 * 40)
    loud = transform(0.5 * torch.randn(1, 256 * 40))
    assert project(silent, loud, transform, 1).abs().max() < 1e-3


def test_momentum_gets_closer_in_the_same_rounds(audio):
    transform = MelSpectrogram()
    audio = audio[None, : 256 * 80]
    target = transform(audio)
    start = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0)) * audio.std()
    plain, driven = (
        (transform(project(start, target, transform, 12, momentum=m)) - target).abs().mean() for m in (0.0, 0.8)
    )
    assert driven < 0.9 * plain
