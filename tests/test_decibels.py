"""Signal to error."""

import math

import pytest
import torch

from waveflow.decibels import signal_to_error


def test_a_hundredth_of_the_amplitude_is_40_decibels():
    expected = torch.randn(4, 100)
    assert signal_to_error(1.01 * expected, expected).item() == pytest.approx(40, abs=1e-3)
    expected = torch.randn(2, 100).double()
    rows = signal_to_error(torch.tensor([[1.1], [1.01]], dtype=torch.float64) * expected, expected, dim=1)
    torch.testing.assert_close(rows, torch.tensor([20.0, 40.0]).double(), atol=1e-6, rtol=0)


def test_equal_signals_are_finite_and_what_is_not_finite_is_nan():
    expected = torch.randn(100)
    assert 200 < signal_to_error(expected, expected).item() < 500
    assert math.isnan(signal_to_error(expected * torch.nan, expected).item())
    assert math.isnan(signal_to_error(expected, expected * torch.nan).item())
