from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from small_models import small

from waveflow.inference import Vocoder
from waveflow.inference.score import Score, flag_unlikely, score_file


@pytest.fixture(scope="module")
def scorer():
    return Vocoder(small("lapglow"))


def seen(score):
    """The flags but one, which an untrained model gives to whatever it hears."""
    return [flag for flag in score.flags if flag != "incompressible"]


def write(path, audio, rate=22050):
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def test_silent_clipped_and_low_rate_files_are_flagged(scorer, tmp_path):
    rng = np.random.default_rng(0)
    speechlike = 0.1 * rng.standard_normal(22050)
    fine = write(tmp_path / "fine.wav", speechlike)
    silent = write(tmp_path / "silent.wav", np.zeros(22050))
    clipped = write(tmp_path / "clipped.wav", np.clip(20 * speechlike, -1, 1))
    low = write(tmp_path / "low.wav", speechlike[:8000], 8000)
    assert seen(score_file(scorer, fine)) == []
    assert seen(score_file(scorer, silent)) == ["silent"]
    assert seen(score_file(scorer, clipped)) == ["clipped"]
    found = score_file(scorer, low)
    assert seen(found) == ["rate"]
    assert found.sample_rate == 8000
    assert found.seconds == pytest.approx(1.0, abs=0.01)


def test_clipping_and_peak_are_those_of_the_file_before_resampling(scorer, tmp_path):
    sine = np.clip(1.6 * np.sin(2 * np.pi * 441 * np.arange(44100) / 44100), -1, 1)
    found = score_file(scorer, write(tmp_path / "a.wav", np.stack([0.2 * sine, sine], 1), 44100))
    # Of the 50 samples of half a period, those at full scale, without the first and the last.
    flat = (np.abs(sine[:50]) == 1).sum()
    assert found.clipped == pytest.approx((flat - 2) / 50, abs=1e-4)
    assert found.peak == 1.0
    assert seen(found) == ["clipped"]
    assert (found.seconds, found.sample_rate) == (1.0, 44100)


def test_bits_follow_from_nats(scorer, tmp_path):
    score = score_file(scorer, write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(22050)))
    assert score.bits == pytest.approx(15 - score.nats / np.log(2))


def test_a_recording_far_from_its_folder_is_unlikely():
    scores = [
        Score(Path(f"{i}"), 1.0, 22050, 0.5, 0.0, 4.0, bits) for i, bits in enumerate([8, 8.1, 7.9, 8.05, 7.95, 11])
    ]
    flag_unlikely(scores)
    assert [s.flags for s in scores] == [[], [], [], [], [], ["unlikely"]]


@pytest.mark.parametrize("n", [5, 6, 7, 9, 10, 15, 20, 50])
def test_small_folders_of_ordinary_recordings_have_no_false_alarm(n):
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1000):
        scores = [Score(Path("a"), 1.0, 22050, 0.5, 0.0, 4.0, bits) for bits in rng.normal(8, 0.5, n).tolist()]
        flag_unlikely(scores)
        alarms += any(score.flags for score in scores)
    assert alarms <= 60  # 5 % of them, and two deviations of the number drawn


def test_what_costs_more_than_plain_pcm_is_flagged_whatever_the_folder(scorer, tmp_path):
    path = write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(22050))
    for nats, flags in ((-0.69, []), (-0.7, ["incompressible"])):
        dear = SimpleNamespace(sample_rate=22050, nats_per_sample=lambda audio, nats=nats: torch.tensor(nats))
        assert score_file(dear, path).flags == flags


def test_a_recording_too_short_to_score_is_named(scorer, tmp_path):
    with pytest.raises(ValueError, match=r"tiny\.wav cannot be scored: audio has 1 samples"):
        score_file(scorer, write(tmp_path / "tiny.wav", np.zeros(1)))


def test_channels_that_cancel_each_other_are_silent(scorer, tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(22050)
    found = score_file(scorer, write(tmp_path / "opposite.wav", np.stack([noise, -noise], 1)))
    assert seen(found) == ["silent"]
    assert found.peak > 0.1


def test_a_recording_whose_density_is_no_number_is_named(scorer, tmp_path):
    soundfile.write(tmp_path / "vast.wav", np.full(22050, 1e38), 22050, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"vast\.wav cannot be scored: its peak is 1e\+38, expected full scale 1"):
        score_file(scorer, tmp_path / "vast.wav")


def test_few_recordings_have_no_outlier():
    scores = [Score(Path(f"{i}"), 1.0, 22050, 0.5, 0.0, 4.0, bits) for i, bits in enumerate([8, 8, 8, 20])]
    flag_unlikely(scores)
    assert not any(s.flags for s in scores)
