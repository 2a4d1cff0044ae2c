import json
import math
import sys

import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.audio.resampling import resample
from waveflow.metrics import Clip, Evaluation, Scores, evaluate_clips, evaluate_pair, evaluation_mel
from waveflow.metrics.evaluate import METRICS

PERFECT = {
    "mr_stft": 0.0,
    "log_mel_l1": 0.0,
    "mcd": 0.0,
    "f0_rmse_cents": 0.0,
    "f0_rmse_hz": 0.0,
    "vuv_f1": 1.0,
    "periodicity_rmse": 0.0,
    "pesq": 4.644,
    "stoi": 1.0,
    "gain_db": 0.0,
    "offset_ms": 0.0,
}


def test_a_recording_against_itself_is_perfect_in_every_figure(speech):
    audio, rate = speech
    scores = evaluate_pair(audio, audio, rate)
    assert list(scores) == list(METRICS) == list(PERFECT)
    assert dict(scores) == pytest.approx(PERFECT, abs=1e-3)
    assert scores.notes == {}


def test_twice_the_level_shows_where_level_counts_and_nowhere_else(speech):
    audio, rate = speech
    scores = evaluate_pair(audio, 2 * audio, rate)
    assert scores["log_mel_l1"] == pytest.approx(math.log(2), abs=0.01)
    assert scores["mcd"] < 0.15
    assert scores["pesq"] == pytest.approx(4.644, abs=0.01)
    assert scores["gain_db"] == pytest.approx(6.02, abs=0.01)
    assert "6.0 dB louder" in scores.notes["gain_db"]


def test_a_delay_is_measured_and_mentioned(speech):
    audio, rate = speech
    late = torch.cat([torch.zeros(rate // 20), audio])
    scores = evaluate_pair(audio, late, rate)
    assert scores["offset_ms"] == pytest.approx(50, abs=1.0)
    assert "50 ms late" in scores.notes["offset_ms"]
    # Alignment undoes a delay; frame by frame it would count for 7.7 dB.
    assert scores["mcd"] < 2.0


def test_pesq_of_telephone_audio_has_a_note(speech):
    audio = resample(*speech, 8000)
    assert "compare that of 8000 Hz with its like only" in evaluate_pair(audio, audio, 8000).notes["pesq"]


def test_notes_that_a_clip_brings_are_kept(speech):
    audio, rate = speech
    clip = Clip(audio, audio, rate, notes={"sample_rate": "low"})
    assert evaluate_clips({"a": lambda: clip}, metrics=["gain_db"]).clips["a"].notes == {"sample_rate": "low"}


def test_a_silent_synthesis_gives_reasons_instead_of_figures(speech):
    audio, rate = speech
    scores = evaluate_pair(audio, torch.zeros_like(audio), rate)
    undefined = {name for name, value in scores.items() if math.isnan(value)}
    assert undefined == {"f0_rmse_cents", "f0_rmse_hz", "pesq", "gain_db", "offset_ms"} == set(scores.notes)
    assert scores.notes["pesq"] == "the synthesis is silent"
    assert scores["vuv_f1"] == 0.0


def test_a_clip_of_one_sample_has_reasons_and_no_crash():
    scores = evaluate_pair(torch.ones(1) / 2, torch.ones(1) / 2, 22050)
    assert {"mr_stft", "pesq", "stoi", "offset_ms"} <= set(scores.notes)
    assert scores["log_mel_l1"] == 0.0


def test_only_the_metrics_asked_for_are_computed(speech, monkeypatch):
    audio, rate = speech
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert list(evaluate_pair(audio, audio, rate, metrics=["log_mel_l1", "mcd"])) == ["log_mel_l1", "mcd"]
    with pytest.raises(ValueError, match="unknown metric 'mos'; valid: mr_stft"):
        evaluate_pair(audio, audio, rate, metrics=["mos"])


def test_a_missing_package_is_a_note_unless_its_metric_was_asked_for(speech, monkeypatch):
    audio, rate = speech
    monkeypatch.setitem(sys.modules, "pesq", None)
    scores = evaluate_pair(audio, audio, rate)
    assert math.isnan(scores["pesq"])
    assert "waveflow[metrics]" in scores.notes["pesq"]
    with pytest.raises(ImportError, match="waveflow"):
        evaluate_pair(audio, audio, rate, metrics=["pesq"])


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
def test_the_mel_of_evaluation_lasts_as_long_at_any_rate(rate):
    config = evaluation_mel(rate)
    assert 0.6 < (config.n_fft / rate) / (1024 / 22050) < 1.5
    assert config.hop_length * 4 == config.n_fft == config.win_length
    assert config.f_max == min(8000, rate / 2)
    assert evaluation_mel(22050) == MelConfig.preset("nvidia")


def test_clips_that_fail_are_named_and_the_rest_is_compared(speech):
    audio, rate = speech

    def broken():
        raise ValueError("b.wav is empty (0 bytes)")

    seen = []
    evaluation = evaluate_clips(
        {
            "a": lambda: Clip(audio, audio[:-100], rate, {"bits_per_sample": 7.5}),
            "b": broken,
            "c": lambda: Clip(audio, audio[: rate // 2], rate),
            "d": lambda: Clip(audio, 0.5 * audio, rate),
        },
        metrics=["log_mel_l1", "gain_db"],
        on_clip=lambda name, clip: seen.append((name, clip and clip.reference.shape == clip.synthesis.shape)),
    )
    assert list(evaluation.clips) == ["a", "d"]
    assert evaluation.failures["b"] == "b.wav is empty (0 bytes)"
    assert "expected lengths within" in evaluation.failures["c"]
    assert seen == [("a", True), ("b", None), ("c", None), ("d", True)]
    summary = evaluation.summary()
    assert summary["gain_db"].mean == pytest.approx(-3.01, abs=0.01)
    assert summary["bits_per_sample"].n == 1


def test_a_small_difference_shows_clip_by_clip_where_the_means_overlap():
    x = Evaluation({str(i): Scores({"pesq": 2 + 0.2 * i, "mcd": 5.0}) for i in range(10)})
    y = Evaluation({str(i): Scores({"pesq": 2.1 + 0.2 * i + 0.01 * (i % 2)}) for i in range(1, 12)})
    assert y.summary()["pesq"].low < x.summary()["pesq"].high
    difference = y.difference(x)
    assert list(difference) == ["pesq"]
    assert difference["pesq"].n == 9
    assert 0.1 <= difference["pesq"].low < 0.1056 < difference["pesq"].high < 0.12


def test_the_report_is_plain_json(speech):
    audio, rate = speech
    evaluation = evaluate_clips({"a": lambda: Clip(audio, 0 * audio, rate)}, metrics=["vuv_f1", "gain_db"])
    report = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert report["clips"] == {"a": {"vuv_f1": 0.0, "gain_db": None}}
    assert report["notes"] == {"a": {"gain_db": "the synthesis is silent"}}
    assert report["summary"]["gain_db"] == {"mean": None, "low": None, "high": None, "n": 0}
