import pytest
import torch
from recipe_modules import load

import waveflow
from waveflow.decibels import signal_to_error

experiments, run = load("latents", "experiments", "run")


@pytest.fixture(scope="module")
def vocoder():
    return waveflow.load()


@pytest.fixture(scope="module")
def clips(vocoder):
    config = run.Config(seconds=0.6)
    return [run.read(path, vocoder, config) for path in (config.clip, config.other)]


def test_a_recording_comes_back_from_its_latent_which_looks_like_noise(vocoder, clips):
    found = experiments.describe_latent(vocoder, clips[0], vocoder.mel(clips[0]))
    assert found["error"] < 1e-4
    assert 0.8 < found["deviation"] < 1.3
    assert abs(found["correlation"]) < 0.05


def test_the_arc_between_two_latents_keeps_their_size():
    start, end = torch.randn(2, 100_000)
    for share in (0.0, 0.3, 1.0):
        assert abs(experiments.between(start, end, share).std() - 1) < 0.02
    assert torch.allclose(experiments.between(start, end, 1.0), end, atol=1e-5)


def test_halfway_between_latents_fits_the_mel_better_than_halfway_between_samples(vocoder, clips):
    (row,) = experiments.interpolate(vocoder, clips[0], vocoder.mel(clips[0]), [0.5], seed=0)
    assert row["latent_distance"] < row["mixed_distance"]


def test_a_latent_under_another_mel_follows_that_mel(vocoder, clips):
    clip, other = clips
    own, told = vocoder.mel(clip), vocoder.mel(other)
    audio = vocoder.decode(vocoder.encode(clip, own), told)
    assert experiments.mel_distance(vocoder, audio, told) < 0.5 * experiments.mel_distance(vocoder, audio, own)


def test_filtering_by_the_flows_gains_removes_noise(vocoder, clips):
    clip = clips[0]
    noisy, sigma = experiments.add_noise(clip, 20.0, seed=0)
    mel = vocoder.mel(clip)
    assert abs(signal_to_error(noisy, clip) - 20) < 0.5
    assert signal_to_error(experiments.denoise(vocoder, noisy, mel, sigma), clip) > 22
    estimate = experiments.without_noise(vocoder, vocoder.mel(noisy), sigma, seed=1)
    assert (estimate - mel).abs().mean() < 0.9 * (vocoder.mel(noisy) - mel).abs().mean()


def test_climbing_the_density_makes_audio_likelier_than_filtering(vocoder, clips):
    noisy, sigma = experiments.add_noise(clips[0], 20.0, seed=0)
    mel = vocoder.mel(clips[0])
    filtered, climbed = (experiments.denoise(vocoder, noisy, mel, sigma, steps) for steps in (0, 5))
    assert experiments.nats(vocoder, climbed, mel) > experiments.nats(vocoder, filtered, mel)


def test_a_clip_that_is_too_short_is_refused_by_name(vocoder):
    with pytest.raises(SystemExit, match="lower start"):
        run.read(run.Config().clip, vocoder, run.Config(seconds=100.0))
