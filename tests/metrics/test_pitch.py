import time

import numpy as np
import pytest
import torch

from waveflow.audio import io
from waveflow.metrics import (
    Pitch,
    UndefinedMetric,
    f0_rmse_cents,
    f0_rmse_hz,
    periodicity_rmse,
    track_pitch,
    vuv_f1,
)

RATE = 22050
EDGE = 5
"""Frames at each end that see beyond the signal, whose F0 is less sharp."""


def tone(f0, seconds=1.0, rate=RATE):
    """Ten harmonics of falling strength."""
    t = torch.arange(round(seconds * rate)) / rate
    return sum(0.2 / k * torch.sin(2 * torch.pi * f0 * k * t) for k in range(1, 11) if f0 * k < rate / 2)


def inner(pitch):
    return Pitch(pitch.f0[EDGE:-EDGE], pitch.periodicity[EDGE:-EDGE])


@pytest.fixture(scope="module")
def tracked(speech):
    audio, rate = speech
    return audio, track_pitch(audio, rate)


def test_a_recording_against_itself_is_perfect(tracked):
    _, pitch = tracked
    assert f0_rmse_cents(pitch, pitch) == 0.0
    assert f0_rmse_hz(pitch, pitch) == 0.0
    assert vuv_f1(pitch, pitch) == 1.0
    assert periodicity_rmse(pitch, pitch) == 0.0


def test_210_hz_is_84_and_a_half_cents_above_200_hz():
    sine = [torch.sin(2 * torch.pi * f * torch.arange(RATE) / RATE) / 3 for f in (200, 210)]
    x, y = (inner(track_pitch(audio, RATE)) for audio in sine)
    assert vuv_f1(x, y) == 1.0
    assert f0_rmse_cents(x, y) == pytest.approx(1200 * np.log2(210 / 200), abs=0.2)
    assert f0_rmse_hz(x, y) == pytest.approx(10.0, abs=0.05)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("f0", [60.0, 131.7, 247.3, 440.0])
def test_the_pitch_of_a_tone_is_found_within_2_cents_at_any_rate(f0, rate):
    pitch = inner(track_pitch(tone(f0, rate=rate), rate))
    assert pitch.voiced.all()
    assert np.abs(1200 * np.log2(pitch.f0 / f0)).max() < 2.0
    assert pitch.periodicity.min() > 0.95


def test_noise_and_silence_are_unvoiced_and_aperiodic(generator):
    noise = track_pitch(0.1 * torch.randn(RATE, generator=generator), RATE)
    assert not noise.voiced.any()
    assert noise.periodicity.max() < 0.4
    for audio in (torch.zeros(RATE), 1e-4 * tone(200.0)):
        silence = track_pitch(audio, RATE)
        assert not silence.voiced.any()
        assert silence.periodicity.max() < 0.05


def test_periodicity_is_the_share_of_power_that_repeats(generator):
    # Of a tone with noise of the same power, half of what is there repeats.
    clean = tone(150.0, seconds=2.0)
    noise = clean.std() * torch.randn(len(clean), generator=generator)
    # Keep both below the tracker's 8 kHz, so that resampling takes power from neither.
    clean, noise = (io.resample(io.resample(a, RATE, 15000), 15000, RATE) for a in (clean, noise))
    noise = noise * clean.std() / noise.std()
    assert inner(track_pitch(clean + noise, RATE)).periodicity.mean() == pytest.approx(0.5, abs=0.05)


def test_frames_lie_every_10_ms(tracked):
    audio, pitch = tracked
    assert len(pitch.f0) == len(pitch.periodicity) == 1 + int(len(audio) / RATE * 100)
    silence_then_tone = torch.cat([torch.zeros(RATE), tone(200.0)])
    onset = np.flatnonzero(track_pitch(silence_then_tone, RATE).periodicity > 0.5)[0]
    assert onset == pytest.approx(100, abs=2)


def test_f1_of_known_decisions():
    def of(decisions):
        return Pitch(np.where(np.array(list(decisions)) == "v", 100.0, np.nan), np.zeros(len(decisions)))

    # TP 3, FN 1, FP 2: precision 3/5, recall 3/4.
    assert vuv_f1(of("vvvvuuuu"), of("vvvuvvuu")) == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert vuv_f1(of("vv"), of("uu")) == 0.0


def test_f1_of_speech_made_of_voiced_and_unvoiced_halves(generator):
    noise = 0.05 * torch.randn(RATE, generator=generator)
    first, second = tone(180.0), tone(180.0)
    x = track_pitch(torch.cat([first, noise, second, noise]), RATE)
    y = track_pitch(torch.cat([first, noise, noise.flip(0), noise]), RATE)
    # Half of the voiced frames are missed and none is invented: recall 1/2, precision 1.
    assert vuv_f1(x, y) == pytest.approx(2 / 3, abs=0.02)
    assert f0_rmse_cents(x, y) < 5.0
    assert periodicity_rmse(x, y) == pytest.approx(0.85 * 0.5, abs=0.08)


def test_only_frames_voiced_in_both_count_for_f0():
    x = Pitch(np.array([100.0, 200.0, np.nan]), np.zeros(3))
    y = Pitch(np.array([100.0, np.nan, 300.0]), np.zeros(3))
    assert f0_rmse_hz(x, y) == 0.0
    x = Pitch(np.array([100.0, 200.0]), np.zeros(2))
    y = Pitch(np.array([103.0, 196.0]), np.zeros(2))
    assert f0_rmse_hz(x, y) == pytest.approx(np.sqrt((9 + 16) / 2))


def test_without_voiced_frames_there_is_no_figure_but_a_reason():
    x, y = (Pitch(np.array(f0), np.zeros(2)) for f0 in ([100.0, np.nan], [np.nan, 100.0]))
    with pytest.raises(UndefinedMetric, match="no frame is voiced in both"):
        f0_rmse_cents(x, y)
    unvoiced = Pitch(np.full(2, np.nan), np.zeros(2))
    with pytest.raises(UndefinedMetric, match="no frame is voiced in either"):
        vuv_f1(unvoiced, unvoiced)


def test_twice_the_level_changes_next_to_nothing(tracked):
    audio, pitch = tracked
    louder = track_pitch(2 * audio, RATE)
    assert vuv_f1(pitch, louder) > 0.99
    assert f0_rmse_cents(pitch, louder) < 5.0
    # Not less, since the floor under the periodicity of pauses is absolute.
    assert periodicity_rmse(pitch, louder) < 0.03


def test_tracking_takes_a_fraction_of_real_time(speech):
    audio, _ = speech
    start = time.process_time()
    track_pitch(audio, RATE)
    assert time.process_time() - start < len(audio) / RATE


@pytest.mark.parametrize("audio", [torch.zeros(0), torch.zeros(1, 100), torch.full((100,), torch.nan)])
def test_what_is_no_single_recording_is_refused(audio):
    with pytest.raises(ValueError, match="expected \\(T,\\), at least one sample, all finite"):
        track_pitch(audio, RATE)


def test_tracks_of_unequal_length_are_refused(tracked):
    _, pitch = tracked
    with pytest.raises(ValueError, match="trim the audio"):
        periodicity_rmse(pitch, inner(pitch))
