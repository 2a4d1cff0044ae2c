import pytest
import torch

from waveflow.bijections import NSF, SplineMap


def test_fresh_spline_is_the_identity():
    spline, x = SplineMap(6, bound=2.0), torch.linspace(-3, 3, 61, dtype=torch.float64)
    z, log_slope = spline.transform(x, torch.zeros(61, spline.n_parameters, dtype=torch.float64))
    assert (z - x).abs().max() < 1e-12
    assert log_slope.abs().max() < 1e-12


@pytest.mark.parametrize("size", [1, 10, 100])
def test_spline_increases_through_its_bounds_whatever_its_parameters(size):
    spline = SplineMap(5, bound=2.0)
    x = torch.linspace(-2.5, 2.5, 2001, dtype=torch.float64)
    z, log_slope = spline.transform(x, (size * torch.randn(spline.n_parameters, dtype=torch.float64)).expand(2001, -1))
    assert (z.diff() > 0).all()
    assert log_slope.isfinite().all()
    outside = x.abs() > 2
    assert torch.equal(z[outside], x[outside])
    assert not log_slope[outside].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_and_knots_are_mapped_exactly_where_they_belong(dtype):
    spline = SplineMap(4, bound=3.0)
    parameters = torch.randn(spline.n_parameters, dtype=dtype)
    places, values, slopes = spline.knots(parameters)
    assert places[0] == values[0] == -3
    assert places[-1] == values[-1] == 3
    z, log_slope = spline.transform(places, parameters.expand(5, -1))
    assert torch.allclose(z, values, atol=1e-5)
    assert torch.allclose(log_slope.exp(), slopes, rtol=1e-3)
    back, _ = spline.invert(values, parameters.expand(5, -1))
    assert torch.allclose(back, places, atol=1e-4)


@pytest.mark.parametrize("size", [1, 10, 30])
def test_steep_spline_is_inverted_in_float32_as_well(size):
    spline = SplineMap(8)
    z, parameters = 10 * torch.rand(5000) - 5, size * torch.randn(5000, spline.n_parameters)
    x, log_slope = spline.invert(z, parameters)
    again, opposite = spline.transform(x, parameters)
    # Numbers near the bound are off by 5e-7 in float32, the quadratic loses a digit, and the slope stretches both.
    assert ((again - z).abs() < 2e-5 * (1 + opposite.exp())).all()
    assert log_slope.isfinite().all()


def test_gradients_of_a_steep_inverse_are_finite():
    spline = SplineMap(8)
    z = (10 * torch.rand(5000) - 5).requires_grad_()
    parameters = (30 * torch.randn(5000, spline.n_parameters)).requires_grad_()
    x, log_slope = spline.invert(z, parameters)
    gradients = torch.autograd.grad(x.sum() + log_slope.sum(), [z, parameters])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradients_are_finite_far_outside():
    spline, x = SplineMap(4, bound=1.0), torch.tensor([1e20, -1e20, 1.0, -1.0], requires_grad=True)
    parameters = torch.randn(4, spline.n_parameters, requires_grad=True)
    for direction in (spline.transform, spline.invert):
        z, log_slope = direction(x, parameters)
        gradients = torch.autograd.grad(z.sum() + log_slope.sum(), [x, parameters])
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_bins_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        SplineMap(1000, min_size=1e-3)


def test_flow_of_splines_takes_either_conditioner():
    x = torch.randn(3, 4)
    assert len(NSF(4, 3)) == len(NSF(4, 3, autoregressive=True)) == 3
    assert NSF(4, 3, autoregressive=True)(x)[0].shape == x.shape
