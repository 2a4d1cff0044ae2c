import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from waveflow.metrics import dtw_path, mel_cepstral_distortion, mel_cepstrum


def cheapest_path_cost(x, y):
    """Least sum of distances over all monotone paths, by trying every one of them."""

    def cost(i, j):
        here = float(np.linalg.norm(x[i] - y[j]))
        before = [(i - di, j - dj) for di, dj in ((1, 1), (1, 0), (0, 1)) if i >= di and j >= dj]
        return here + min((cost(*pair) for pair in before), default=0.0)

    return cost(len(x) - 1, len(y) - 1)


def path_cost(x, y, path):
    return sum(float(np.linalg.norm(x[i] - y[j])) for i, j in path)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 6), k=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_the_path_is_as_cheap_as_the_best_of_all_paths(n, m, k, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, k)), rng.normal(size=(m, k))
    path = dtw_path(x, y)
    assert path_cost(x, y, path) == pytest.approx(cheapest_path_cost(x, y), abs=1e-12)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [n - 1, m - 1]
    steps = {tuple(step) for step in np.diff(path, axis=0)}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 20), m=st.integers(1, 20), radius=st.integers(0, 6), seed=st.integers(0, 2**32 - 1))
def test_with_a_radius_the_path_is_the_cheapest_within_it(n, m, radius, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(m, 2))
    reach = max(radius, -(-m // n))
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0, 0] = 0
    for i, j in itertools.product(range(n), range(m)):
        if abs(j - i * (m - 1) // max(n - 1, 1)) <= reach:
            before = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
            cost[i + 1, j + 1] = before + np.linalg.norm(x[i] - y[j])
    assert path_cost(x, y, dtw_path(x, y, radius=radius)) == pytest.approx(cost[n, m], abs=1e-9)


def test_a_sequence_warped_in_time_is_at_distance_zero_of_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 13))
    repeats = rng.integers(1, 4, size=40)
    warped = np.repeat(x, repeats, axis=0)
    assert mel_cepstral_distortion(x, warped) == 0.0
    assert mel_cepstral_distortion(warped, x) == 0.0
    path = dtw_path(x, warped)
    assert path.tolist() == [[i, j] for j, i in enumerate(np.repeat(np.arange(40), repeats))]
    assert mel_cepstral_distortion(x, warped[: len(x)], align=False) > 1.0


def test_distortion_of_made_up_cepstra_is_that_of_the_formula():
    x = torch.zeros(2, 13)
    y = torch.zeros(2, 13)
    y[0, 0], y[0, 5], y[1, 12] = 0.3, -0.4, 1.0
    expected = (10 / math.log(10)) * (math.sqrt(2 * 0.25) + math.sqrt(2 * 1.0)) / 2
    assert mel_cepstral_distortion(x, y, align=False) == pytest.approx(expected, rel=1e-6)


def test_all_coefficients_together_are_the_rms_difference_in_decibels(generator):
    x, y = torch.randn(2, 80, 7, generator=generator, dtype=torch.float64)
    apart = 20 / math.log(10) * (x - y)
    expected = (apart - apart.mean(dim=0)).square().mean(dim=0).sqrt().mean()
    found = mel_cepstral_distortion(mel_cepstrum(x, 79), mel_cepstrum(y, 79), align=False)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_cepstra_do_not_depend_on_level(generator):
    log_mel = torch.randn(3, 80, 11, generator=generator, dtype=torch.float64)
    cepstra = mel_cepstrum(log_mel, 24)
    assert cepstra.shape == (3, 11, 24)
    torch.testing.assert_close(mel_cepstrum(log_mel + 1.7, 24), cepstra, atol=1e-12, rtol=0)


def test_one_cosine_over_the_bands_is_one_coefficient():
    bands = torch.arange(80, dtype=torch.float64)
    log_mel = 0.7 * torch.cos(torch.pi * 4 * (bands + 0.5) / 80)[:, None] - 3.0
    expected = torch.zeros(1, 13, dtype=torch.float64)
    expected[0, 3] = 0.7
    torch.testing.assert_close(mel_cepstrum(log_mel), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n_coefficients", [0, 80])
def test_more_coefficients_than_bands_are_refused(n_coefficients):
    with pytest.raises(ValueError, match=f"n_coefficients is {n_coefficients}, expected 1 to 79"):
        mel_cepstrum(torch.zeros(80, 3), n_coefficients)


def test_sequences_that_cannot_be_compared_are_refused():
    x = np.zeros((4, 13))
    with pytest.raises(ValueError, match="13 and 12 values"):
        dtw_path(x, np.zeros((4, 12)))
    with pytest.raises(ValueError, match=r"shape \(0, 13\)"):
        dtw_path(x, np.zeros((0, 13)))
    with pytest.raises(ValueError, match="NaN"):
        dtw_path(x, np.full((4, 13), np.nan))
    with pytest.raises(ValueError, match="radius is -1"):
        dtw_path(x, x, radius=-1)
    with pytest.raises(ValueError, match="or align"):
        mel_cepstral_distortion(x, np.zeros((5, 13)), align=False)


def test_importing_the_metrics_loads_none_of_the_heavy_packages():
    code = (
        "import sys, waveflow.metrics, waveflow.cli.evaluate; "
        "print(*{'librosa', 'numba', 'scipy', 'pesq', 'pystoi', 'matplotlib'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
