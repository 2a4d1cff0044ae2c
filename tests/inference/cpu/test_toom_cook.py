import numpy as np
import pytest

from waveflow.inference.cpu.kernels import POINTS
from waveflow.inference.cpu.toom_cook import toom_cook


@pytest.mark.parametrize(
    ("n_outputs", "n_taps", "points"),
    [(1, 1, ()), (1, 3, (0, 1)), (2, 3, (0, 1, -1)), (4, 3, POINTS), (3, 4, (0, 1, -1, 2, -0.5))],
)
def test_the_products_at_the_points_make_the_convolution(n_outputs, n_taps, points):
    algorithm = toom_cook(n_outputs, n_taps, points)
    x, g = np.random.default_rng(0).normal(size=(2, n_outputs + n_taps - 1))
    g = g[:n_taps]
    expected = [sum(g[j] * x[i + j] for j in range(n_taps)) for i in range(n_outputs)]
    found = algorithm.outputs @ ((algorithm.taps @ g) * (algorithm.inputs @ x))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert len(algorithm.taps) == n_outputs + n_taps - 1


@pytest.mark.parametrize("points", [(0, 1), (0, 1, 1), (0, 1, 2, 3)], ids=str)
def test_too_few_too_many_or_equal_points_are_refused(points):
    with pytest.raises(ValueError, match="2 outputs of 3 taps need 3 different ones"):
        toom_cook(2, 3, points)
