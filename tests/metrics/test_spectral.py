import math

import pytest
import torch

from waveflow.audio.mel import MelSpectrogram
from waveflow.metrics import UndefinedMetric, log_mel_l1, multi_resolution_stft
from waveflow.metrics.spectral import (
    RESOLUTIONS,
    Resolution,
    log_magnitude_l1,
    spectral_convergence,
    stft_magnitude,
)


@pytest.fixture
def noise(generator):
    return 0.1 * torch.randn(2, 8000, generator=generator, dtype=torch.float64)


def test_identical_signals_are_at_distance_zero(noise):
    assert multi_resolution_stft(noise, noise).tolist() == [0.0, 0.0]
    assert log_mel_l1(noise, noise, MelSpectrogram()).tolist() == [0.0, 0.0]


def test_twice_the_amplitude_is_ln_2_in_log_magnitude_and_1_in_convergence(noise):
    for resolution in RESOLUTIONS:
        x, y = (stft_magnitude(audio, resolution) for audio in (noise, 2 * noise))
        torch.testing.assert_close(log_magnitude_l1(x, y), torch.full((2,), math.log(2)).double(), atol=1e-5, rtol=0)
        torch.testing.assert_close(spectral_convergence(x, y), torch.ones(2).double(), atol=1e-9, rtol=0)
    distance = multi_resolution_stft(noise, 2 * noise)
    torch.testing.assert_close(distance, torch.full((2,), 1 + math.log(2)).double(), atol=1e-5, rtol=0)
    mel = log_mel_l1(noise, 2 * noise, MelSpectrogram())
    torch.testing.assert_close(mel, torch.full((2,), math.log(2)).double(), atol=1e-5, rtol=0)


def test_the_distance_equals_its_formula_written_out(noise):
    x, y = noise[0], noise[1]
    expected = 0.0
    for n_fft, hop, win in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        window = torch.zeros(n_fft, dtype=torch.float64)
        start = (n_fft - win) // 2
        turn = 2 * torch.pi * torch.arange(win, dtype=torch.float64) / win
        window[start : start + win] = 0.5 - 0.5 * torch.cos(turn)
        magnitudes = []
        for audio in (x, y):
            padded = torch.cat([audio[1 : n_fft // 2 + 1].flip(0), audio, audio[-n_fft // 2 - 1 : -1].flip(0)])
            spectrum = torch.fft.rfft(padded.unfold(0, n_fft, hop) * window).abs()
            magnitudes.append(spectrum.clamp(min=1e-4))
        a, b = magnitudes
        expected += (a - b).square().sum().sqrt() / a.square().sum().sqrt() + (a.log() - b.log()).abs().mean()
    torch.testing.assert_close(multi_resolution_stft(x, y), expected / 3, atol=1e-9, rtol=0)


def test_an_item_of_a_batch_scores_as_it_does_alone(noise):
    other = noise.flip(0)
    together = multi_resolution_stft(noise, other)
    for i in range(2):
        torch.testing.assert_close(together[i], multi_resolution_stft(noise[i], other[i]), atol=1e-12, rtol=0)
    assert multi_resolution_stft(noise[0], other[0]).shape == ()


def test_gradients_reach_the_synthesis_and_are_finite_where_it_is_perfect_or_silent(noise):
    for synthesis in (0.5 * noise, noise.clone(), torch.zeros_like(noise)):
        synthesis.requires_grad_()
        loss = multi_resolution_stft(noise, synthesis) + log_mel_l1(noise, synthesis, MelSpectrogram())
        (gradient,) = torch.autograd.grad(loss.sum(), synthesis)
        assert gradient.isfinite().all()
    synthesis = (0.5 * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(multi_resolution_stft(noise, synthesis).sum(), synthesis)
    assert float((gradient * noise).sum()) < 0


def test_silence_against_silence_is_at_distance_zero():
    assert float(multi_resolution_stft(torch.zeros(4000), torch.zeros(4000))) == 0.0


def test_audio_too_short_to_reflect_has_no_figure():
    assert stft_magnitude(torch.randn(257), Resolution(512, 50, 240)).shape == (257, 6)
    with pytest.raises(UndefinedMetric, match="1024 samples, an STFT of n_fft=2048 needs more than 1024"):
        multi_resolution_stft(torch.randn(1024), torch.randn(1024))


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(4000,\) and synthesis \(4001,\).*trim"):
        multi_resolution_stft(torch.randn(4000), torch.randn(4001))
    with pytest.raises(ValueError, match="trim"):
        log_mel_l1(torch.randn(1, 1, 4000), torch.randn(1, 1, 4000), MelSpectrogram())
