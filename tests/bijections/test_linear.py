import torch

from waveflow.bijections import FixedLinear, InvertibleConv1x1, InvertibleConv1x1LU
from waveflow.bijections.linear import random_rotation


def test_fresh_matrix_is_a_rotation_with_log_det_zero():
    conv = InvertibleConv1x1(6).double()
    matrix = conv.matrix()
    assert (matrix @ matrix.T - torch.eye(6)).abs().max() < 1e-6
    assert torch.linalg.det(random_rotation(5)) > 0
    assert conv.log_abs_det().abs() < 1e-6


def test_negative_determinant_stays_sound():
    conv = InvertibleConv1x1(4).double()
    with torch.no_grad():
        conv.weight[0] *= -3
    assert torch.linalg.det(conv.weight) < 0
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    z, log_det = conv(x)
    assert torch.allclose(log_det, torch.full((2,), 5 * torch.log(torch.tensor(3.0)).item(), dtype=torch.float64))
    assert (conv.inverse(z) - x).abs().max() < 1e-12


def test_lu_parametrisation_agrees_with_the_dense_map_of_its_matrix():
    lu, dense = InvertibleConv1x1LU(5).double(), InvertibleConv1x1(5).double()
    with torch.no_grad():
        for parameter in lu.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        dense.weight.copy_(lu.matrix())
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    for ours, theirs in zip(lu(x), dense(x)):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_fresh_lu_parametrisation_is_the_rotation_it_was_factored_from():
    matrix = InvertibleConv1x1LU(6).double().matrix()
    assert (matrix @ matrix.T - torch.eye(6)).abs().max() < 1e-5


def test_only_the_strict_triangles_of_the_lu_parameters_count():
    conv = InvertibleConv1x1LU(4)
    before = conv.matrix().clone()
    with torch.no_grad():
        conv.lower.add_(torch.ones(4, 4).triu())
        conv.upper.add_(torch.ones(4, 4).tril())
    assert torch.equal(conv.matrix(), before)


def test_fixed_linear_is_the_convolution_it_was_taken_from():
    conv = InvertibleConv1x1(4)
    with torch.no_grad():
        conv.weight.mul_(1.7)
    fixed = FixedLinear(conv.matrix().detach(), conv.inverse_matrix().detach(), conv.log_abs_det().item())
    x = torch.randn(2, 4, 6)
    for ours, theirs in zip(fixed(x), conv(x)):
        assert torch.allclose(ours, theirs)
    assert torch.allclose(fixed.inverse(x), conv.inverse(x), atol=1e-6)
