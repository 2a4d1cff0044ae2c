import sys
from itertools import pairwise

import pytest
import torch

from waveflow.audio import io
from waveflow.metrics import UndefinedMetric, pesq, stoi


@pytest.fixture
def noise(speech, generator):
    return torch.randn(speech[0].shape, generator=generator)


def test_a_recording_against_itself_has_the_highest_scores(speech):
    audio, rate = speech
    assert pesq(audio, audio, rate) == pytest.approx(4.644, abs=1e-3)
    assert stoi(audio, audio, rate) == pytest.approx(1.0, abs=1e-6)


def test_more_noise_lowers_both_scores(speech, noise):
    audio, rate = speech
    levels = (0.0, 0.001, 0.005, 0.02, 0.08)
    for metric in (pesq, stoi):
        scores = [metric(audio, audio + level * noise, rate) for level in levels]
        assert all(a > b for a, b in pairwise(scores)), scores
        assert scores[0] - scores[-1] > 0.2


def test_pesq_does_not_hear_level_or_delay(speech, noise):
    audio, rate = speech
    noisy = audio + 0.005 * noise
    score = pesq(audio, noisy, rate)
    assert pesq(audio, 0.25 * noisy, rate) == pytest.approx(score, abs=0.05)
    assert pesq(audio, noisy.roll(400), rate) == pytest.approx(score, abs=0.1)


def test_pesq_of_more_than_50_utterances_is_the_mean_over_parts(speech, noise):
    _, rate = speech
    burst = torch.zeros(rate // 2)
    burst[: rate // 5] = 0.1 * noise[: rate // 5]
    long = burst.repeat(140)
    degraded = long + 0.003 * noise.repeat(40)[: len(long)]
    whole = pesq(long, degraded, rate)
    part = len(long) // 4
    parts = [pesq(long[i : i + part], degraded[i : i + part], rate) for i in range(0, len(long), part)]
    assert whole == pytest.approx(sum(parts) / 4, abs=0.05)


def test_silence_in_a_long_recording_does_not_cost_the_score(speech):
    audio, rate = speech
    long = torch.cat([audio, torch.zeros(25 * rate)])
    assert pesq(long, long, rate) == pytest.approx(4.644, abs=1e-3)


def test_a_synthesis_that_falls_silent_does_not_score_as_its_good_part(speech):
    long = io.resample(speech[0], speech[1], 16000).repeat(20)
    lost = long.clone()
    lost[len(long) // 2 :] = 0
    with pytest.raises(UndefinedMetric, match="the synthesis is silent for 19 s of speech"):
        pesq(long, lost, 16000)


def test_where_pesq_fails_the_reason_is_named(speech):
    audio, rate = speech
    silence = torch.zeros_like(audio)
    for pair, reason in (
        ((silence, audio), "no utterance detected"),
        ((audio, silence), "the synthesis is silent"),
        ((silence, silence), "the synthesis is silent"),
        ((audio[:2000], audio[:2000]), r"0.091 s of audio, PESQ needs at least 0.25 s"),
    ):
        with pytest.raises(UndefinedMetric, match=reason):
            pesq(*pair, rate)


def test_where_stoi_fails_the_reason_is_named(speech):
    audio, rate = speech
    with pytest.raises(UndefinedMetric, match="the reference is silent"):
        stoi(torch.zeros_like(audio), audio, rate)
    for short in (audio[:100], audio[: rate // 4]):
        with pytest.raises(UndefinedMetric, match=r"less than 0.4 s of speech"):
            stoi(short, short, rate)
    mostly_silent = torch.cat([audio[4000:8000], torch.zeros(rate)])
    with pytest.raises(UndefinedMetric, match=r"less than 0.4 s of speech"):
        stoi(mostly_silent, mostly_silent, rate)
    assert stoi(audio, torch.zeros_like(audio), rate) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("metric", "package"), [(pesq, "pesq"), (stoi, "pystoi")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(metric, package, speech, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is not installed; .*'waveflow\[metrics\]'"):
        metric(*[speech[0]] * 2, speech[1])


@pytest.mark.parametrize("metric", [pesq, stoi])
def test_audio_that_cannot_be_scored_is_refused(metric, speech):
    audio, rate = speech
    with pytest.raises(ValueError, match="trim"):
        metric(audio, audio[:-1], rate)
    with pytest.raises(ValueError, match="one by one"):
        metric(audio[None], audio[None], rate)
    with pytest.raises(ValueError, match="synthesis has NaN"):
        metric(audio, audio * torch.nan, rate)
