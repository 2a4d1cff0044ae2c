import math

import numpy as np
import pytest

from waveflow.metrics import bootstrap_mean, summarize


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_the_interval_covers_the_true_mean_nineteen_times_in_twenty(n):
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        summary = bootstrap_mean(rng.normal(3.0, 1.0, size=n), n_resamples=1000, seed=trial)
        covered += summary.low <= 3.0 <= summary.high
    # 300 trials give +- 1.3 % a sigma.
    assert 0.91 <= covered / 300 <= 0.985


def test_the_interval_is_that_of_the_normal_law_for_many_values():
    values = np.random.default_rng(1).normal(size=1000)
    summary = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert summary.mean == pytest.approx(values.mean())
    assert summary.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_same_seed_gives_the_same_interval():
    values = [1.0, 2.0, 4.0]
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_clips_without_the_figure_do_not_count():
    summary = bootstrap_mean([1.0, math.nan, 3.0])
    assert (summary.mean, summary.n) == (2.0, 2)


def test_fewer_than_two_clips_have_no_interval():
    one = bootstrap_mean([1.5])
    assert (one.mean, one.n) == (1.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    none = bootstrap_mean([math.nan])
    assert none.n == 0
    assert math.isnan(none.mean)


def test_every_figure_that_occurs_is_summarized_in_order():
    summaries = summarize([{"pesq": 1.0}, {"pesq": 3.0, "bits": 5.0}])
    assert list(summaries) == ["pesq", "bits"]
    assert summaries["pesq"].mean == 2.0
    assert (summaries["bits"].mean, summaries["bits"].n) == (5.0, 1)
