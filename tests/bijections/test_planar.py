import pytest
import torch

from waveflow.bijections import Planar, Radial, Sylvester
from waveflow.bijections.sylvester import householder

FAMILIES = {"planar": lambda: Planar(3), "radial": lambda: Radial(3), "sylvester": lambda: Sylvester(3, 2)}


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_flow_is_the_identity(family):
    bijection, x = FAMILIES[family]().double(), torch.randn(5, 3, dtype=torch.float64)
    z, log_det = bijection(x)
    assert (z - x).abs().max() < 1e-7
    assert log_det.abs().max() < 1e-7


@pytest.mark.parametrize("size", [1, 10, 100])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_weights_however_wild_make_it_fold(family, size):
    bijection, x = FAMILIES[family]().double(), 3 * torch.randn(200, 3, dtype=torch.float64)
    for _ in range(10):
        with torch.no_grad():
            bijection.parameter.value.normal_(std=size)
        _, log_det = bijection(x)
        assert log_det.isfinite().all()
        jacobian = torch.func.vmap(torch.func.jacrev(lambda item: bijection(item[None])[0][0]))(x)
        assert (torch.linalg.det(jacobian) > 0).all()


def test_planar_direction_has_the_product_that_its_formula_states():
    planar = Planar(4).double()
    with torch.no_grad():
        planar.parameter.value.normal_(std=3)
    w, u, _, wu = planar._constrained(torch.zeros(1, 4, dtype=torch.float64), None)
    assert torch.allclose((w * u).sum(1, keepdim=True), wu)
    assert wu > -1


@pytest.mark.parametrize("size", [1e-2, 1e-5, 1e-8])
def test_planar_with_a_vanishing_direction_is_the_same_in_float32(size):
    # u is moved along w by a difference over |w|, which must not be one of rounding errors.
    planar, x = Planar(2), torch.ones(1, 2)
    with torch.no_grad():
        planar.parameter.value.copy_(torch.tensor([size, 0.0, 0.5, 0.5, 1.0]))
        z, exact = planar(x)[0], planar.double()(x.double())[0]
    assert (z - exact).abs().max() < 1e-6


def test_radial_inverse_is_exact_at_the_centre_and_far_from_it():
    radial = Radial(2).double()
    with torch.no_grad():
        radial.parameter.value.copy_(torch.tensor([1.0, -2.0, 0.3, -4.0]))
    x = torch.tensor([[1.0, -2.0], [1.0 + 1e-9, -2.0], [1e6, 1e6]], dtype=torch.float64)
    assert torch.allclose(radial.inverse(radial(x)[0]), x, rtol=1e-12, atol=1e-12)


def test_householder_columns_are_orthonormal():
    columns = householder(torch.randn(4, 3, 5, dtype=torch.float64))
    assert columns.shape == (4, 5, 3)
    assert torch.allclose(columns.mT @ columns, torch.eye(3, dtype=torch.float64).expand(4, 3, 3), atol=1e-12)


def test_sylvester_of_rank_one_is_a_planar_flow_along_its_direction():
    sylvester = Sylvester(3, 1).double()
    with torch.no_grad():
        sylvester.parameter.value.normal_()
        q, r, s, b = sylvester._constrained(torch.zeros(1, 3, dtype=torch.float64), None)
        w, u = s[0, 0, 0] * q[0, :, 0], r[0, 0, 0] * q[0, :, 0]
    x = torch.randn(6, 3, dtype=torch.float64)
    ridge = torch.tanh(x @ w + b[0, 0])
    z, log_det = sylvester(x)
    assert torch.allclose(z, x + ridge[:, None] * u)
    assert torch.allclose(log_det, torch.log(1 + (w @ u) * (1 - ridge.square())))


def test_a_rank_above_the_number_of_features_is_refused():
    with pytest.raises(ValueError, match="rank is 4, it must be between 1 and n_features=3"):
        Sylvester(3, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_data_of_another_shape_is_refused(family):
    for shape in [(2, 4), (2, 3, 5)]:
        with pytest.raises(ValueError, match=r"expected vectors \(B, 3\)"):
            FAMILIES[family]()(torch.zeros(shape))


def test_context_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"context is none, expected features of shape \(B, 2\)"):
        Planar(3, context_channels=2)(torch.zeros(1, 3))
