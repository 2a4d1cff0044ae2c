import pytest
import torch
from small_models import small

import waveflow.inference.benchmark.turns as turning
from waveflow.checkpoints import native
from waveflow.inference.benchmark import Candidate, Plan, made_up_vowels, run
from waveflow.inference.benchmark.subjects import Subject

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "small"
    native.save(small("lapglow"), directory)
    return str(directory)


def results_of(*candidates, **plan):
    return run(Plan([*candidates], rounds=2, turn=0, latency=0, **plan), *made_up_vowels(1.0), CPU)


def test_every_way_and_size_has_a_row_and_agrees_with_float64(checkpoint):
    ways = [("reference", "float32"), ("onednn", "float32"), ("reference", "bfloat16")]
    found = results_of(Candidate(checkpoint, ways), sizes=[(1, 0.2), (2, 0.1)])
    rows = found["rows"]
    assert [(row["backend"], row["dtype"]) for row in rows] == ways * 2
    assert [(row["batch"], row["seconds"]) for row in rows] == [(1, 0.2)] * 3 + [(2, 0.1)] * 3
    for row in rows:
        assert row["decibels"] > (30 if row["dtype"] == "bfloat16" else 90)
        assert row["rounds"] == 2
        assert row["x_real_time"]["p10"] <= row["x_real_time"]["median"] <= row["x_real_time"]["p90"]
        assert ("first_samples_ms" in row) == (row["batch"] == 1)
    assert rows[0]["times_the_float32_reference"] == 1
    assert set(found["ceilings"]) == {"float32", "bfloat16", "copy"}
    assert not found["left_out"]


def test_what_cannot_run_is_left_out_with_its_reason(checkpoint, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found = results_of(Candidate(checkpoint, [("triton", "float32"), ("reference", "float32")]), sizes=[(1, 0.1)])
    assert [row["backend"] for row in found["rows"]] == ["reference"]
    ((name, reason),) = found["left_out"].items()
    assert name.endswith("triton float32")
    assert "'triton' was asked for, but" in reason


def test_an_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'waveglow"):
        results_of(Candidate("waveglow-257", [("reference", "float32")]))


def test_candidates_take_turns_and_ratios_are_taken_round_by_round(monkeypatch):
    turns = []

    def subject(backend):
        return Subject(
            model="m",
            backend=backend,
            dtype="float32",
            frame_seconds=0.01,
            mel=lambda batch, seconds: torch.zeros(batch, 80, round(100 * seconds)),
            call=lambda mel: turns.append(backend),
            gmac=4.0,
            gmac_folded=2.0,
            decibels=100.0,
        )

    # The second round is ten times as slow for all.
    rounds = [{"reference": 4.0, "onednn": 1.0}, {"reference": 40.0, "onednn": 10.0}]
    taken = {name: iter([one[name] for one in rounds]) for name in rounds[0]}

    def clocked(work, device, seconds, **_):
        work()
        return [next(taken[turns[-1]])]

    class Ceilings:
        names = ("float32", "copy")

        def __init__(self, *_):
            self.rates = iter([{"float32": 8.0, "copy": 1.0}, {"float32": 0.8, "copy": 1.0}])

        def measure(self):
            return next(self.rates)

    monkeypatch.setattr(turning, "clocked", clocked)
    monkeypatch.setattr(turning, "Ceilings", Ceilings)
    monkeypatch.setattr(
        turning, "_makers", lambda *_: [(name, lambda name=name: subject(name)) for name in ("reference", "onednn")]
    )
    found = run(Plan([], sizes=[(2, 1.0)], rounds=2), torch.zeros(1), 22050, CPU)
    warm_up, measured = turns[:2], turns[2:6]
    assert warm_up == ["reference", "onednn"]
    assert measured == ["reference", "onednn", "reference", "onednn"]
    fast = found["rows"][1]
    assert fast["times_the_float32_reference"] == 4
    assert fast["x_real_time"]["median"] == pytest.approx(2 / 5.5)
    # 2 seconds of audio in 1 second of a machine of 8, and in 10 of one of 0.8.
    assert fast["share_of_matrix_product"]["folded"] == pytest.approx(2 * 2 / 8)
    assert fast["share_of_matrix_product"]["as_written"] == pytest.approx(2 * 4 / 8)


def test_when_time_is_up_the_first_round_is_still_finished(checkpoint):
    found = results_of(Candidate(checkpoint, [("reference", "float32")]), sizes=[(1, 0.1)], minutes=0.0)
    assert found["rows"][0]["rounds"] == 1
