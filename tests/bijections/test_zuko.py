"""Agreement with zuko where it has the family: the same weights, the same log-probability."""

import pytest
import torch
from tolerances import ZUKO
from torch import nn
from torch.distributions import AffineTransform

from waveflow.bijections import (
    IAF,
    MAF,
    NAF,
    AffineMap,
    Chain,
    Continuous,
    InvertibleConv1x1LU,
    MaskedCoupling,
    Permutation,
    ShiftMap,
    SigmoidalMap,
    SplineMap,
)
from waveflow.bijections.spline import inverse_rational_quadratic, rational_quadratic
from waveflow.distributions import Flow, StandardNormal, from_transform
from waveflow.nn.made import MADE

zuko = pytest.importorskip("zuko", reason="needs zuko, the oracle")

FEATURES, CONTEXT = 3, 2


def perturb(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def data():
    return 1.5 * torch.randn(7, FEATURES), torch.randn(7, CONTEXT)


def copy_made(theirs, made: MADE) -> None:
    """Copy the weights and masks of a masked network of zuko, and the order they were made for."""
    linear = [layer for layer in theirs.hyper if isinstance(layer, nn.Linear)]
    for ours, layer in zip(made.layers, linear):
        ours.weight.data.copy_(layer.weight.data)
        ours.bias.data.copy_(layer.bias.data)
        ours.mask.copy_(layer.mask)
    made.order.copy_(theirs.order.argsort())


def largest_gap(ours, theirs, x, context):
    """Between the log-probabilities of our bijection and their flow."""
    base = StandardNormal(FEATURES).to(x.dtype)
    return (Flow(base, ours).log_prob(x, context) - theirs(context).log_prob(x)).abs().max()


def exponential_affine(shift, scale):
    return AffineTransform(shift, scale.exp())


@pytest.mark.parametrize("random_orders", [False, True])
def test_maf_scores_and_samples_as_zukos_does(random_orders):
    theirs = zuko.flows.MAF(
        FEATURES,
        CONTEXT,
        transforms=3,
        randperm=random_orders,
        hidden_features=(16, 16),
        univariate=exponential_affine,
    )
    perturb(theirs)
    ours = MAF(FEATURES, 3, context_channels=CONTEXT, n_channels=16, elementwise=AffineMap())
    for step, transform in zip(ours, theirs.transform.transforms):
        copy_made(transform, step.conditioner)
    x, context = data()
    assert largest_gap(ours, theirs, x, context) < ZUKO
    z = torch.randn(7, FEATURES)
    assert (ours.inverse(z, context) - theirs.transform(context).inv(z)).abs().max() < 10 * ZUKO


def test_iaf_scores_and_samples_as_zukos_inverted_autoregression_does():
    theirs = perturb(
        zuko.flows.MAF(FEATURES, CONTEXT, transforms=2, hidden_features=(16, 16), univariate=exponential_affine)
    )
    ours = IAF(FEATURES, 2, context_channels=CONTEXT, n_channels=16, elementwise=AffineMap())
    for step, transform in zip(ours.bijection, theirs.transform.transforms):
        copy_made(transform, step.conditioner)
    x, context = data()
    inverted = theirs.transform(context).inv
    z, log_det = ours(x, context)
    expected, expected_log_det = inverted.call_and_ladj(x)
    assert (z - expected).abs().max() < ZUKO
    assert (log_det - expected_log_det).abs().max() < ZUKO
    assert (ours.inverse(z, context) - inverted.inv(expected)).abs().max() < 10 * ZUKO


def test_neural_autoregression_scores_as_zukos_does_through_the_same_mixtures():
    # Zuko has no closed form of this map's derivative: it takes it by automatic differentiation.
    n_units = 4
    mixture = SigmoidalMap(n_units).double()

    def univariate(parameters):
        return zuko.transforms.MonotonicTransform(lambda x: mixture.transform(x, parameters)[0], phi=(parameters,))

    config = {"univariate": univariate, "shapes": [(3 * n_units,)]}
    theirs = perturb(zuko.flows.MAF(FEATURES, CONTEXT, transforms=2, hidden_features=(16, 16), **config)).double()
    ours = NAF(FEATURES, 2, n_units=n_units, context_channels=CONTEXT, n_channels=16).double()
    for step, transform in zip(ours, theirs.transform.transforms):
        copy_made(transform, step.conditioner)
    x, context = (tensor.double() for tensor in data())
    assert largest_gap(ours, theirs, x, context) < ZUKO


class ZukosKnots(SplineMap):
    """Our spline through knots in zuko's parametrisation."""

    def knots(self, parameters):
        widths, heights, slopes = parameters.split([self.n_bins, self.n_bins, self.n_bins - 1], dim=-1)
        spline = zuko.transforms.MonotonicRQSTransform(widths, heights, slopes, bound=self.bound)
        return spline.horizontal, spline.vertical, spline.derivatives


def test_autoregressive_spline_flow_scores_as_zukos_does():
    theirs = perturb(zuko.flows.NSF(FEATURES, CONTEXT, transforms=3, bins=6, hidden_features=(16, 16)))
    ours = MAF(FEATURES, 3, context_channels=CONTEXT, n_channels=16, elementwise=ZukosKnots(6, bound=5.0))
    for step, transform in zip(ours, theirs.transform.transforms):
        copy_made(transform, step.conditioner)
    x, context = data()
    assert largest_gap(ours, theirs, x, context) < ZUKO


def test_spline_is_zukos_through_the_same_knots_and_back():
    widths, heights, slopes = torch.randn(50, 6), torch.randn(50, 6), torch.randn(50, 5)
    spline = zuko.transforms.MonotonicRQSTransform(widths.double(), heights.double(), slopes.double(), bound=3.0)
    knots = spline.horizontal, spline.vertical, spline.derivatives
    x = torch.rand(50, dtype=torch.float64) * 6 - 3
    z, log_slope = rational_quadratic(x, *knots)
    expected, expected_log_slope = spline.call_and_ladj(x)
    assert (z - expected).abs().max() < 1e-10
    assert (log_slope - expected_log_slope).abs().max() < 1e-10
    back, back_log_slope = inverse_rational_quadratic(z, *knots)
    assert (back - x).abs().max() < 1e-9
    assert (back_log_slope + log_slope).abs().max() < 1e-8


class Borrowed(nn.Module):
    """A conditioner of zuko, which gives the parameters of the numbers outside a mask, as one of ours."""

    def __init__(self, theirs, n_parameters: int) -> None:
        super().__init__()
        self.theirs, self.n_parameters = theirs, n_parameters

    def forward(self, x, context):
        inside = self.theirs.mask
        given = self.theirs.hyper(torch.cat([x[:, inside], context], dim=1)).unflatten(1, (-1, self.n_parameters))
        everywhere = x.new_zeros(len(x), self.n_parameters, FEATURES)
        everywhere[:, :, ~inside] = given.transpose(1, 2)
        return everywhere.flatten(1)


COUPLINGS = {
    "nice": (zuko.transforms.AdditiveTransform, [()], ShiftMap()),
    "realnvp": (exponential_affine, [(), ()], AffineMap()),
    "nsf": (zuko.transforms.MonotonicRQSTransform, [(6,), (6,), (5,)], ZukosKnots(6, bound=5.0)),
}


@pytest.mark.parametrize("family", COUPLINGS)
def test_couplings_score_as_zukos_do(family):
    univariate, shapes, elementwise = COUPLINGS[family]
    config = {"univariate": univariate, "shapes": shapes, "hidden_features": (16,)}
    theirs = perturb(zuko.flows.NICE(FEATURES, CONTEXT, transforms=4, **config))
    ours = Chain(
        MaskedCoupling(transform.mask, Borrowed(transform, elementwise.n_parameters), elementwise)
        for transform in theirs.transform.transforms
    )
    x, context = data()
    assert largest_gap(ours, theirs, x, context) < ZUKO


def test_mixture_of_sigmoids_has_the_derivative_and_the_inverse_that_zuko_finds():
    ours, parameters = SigmoidalMap(5).double(), torch.randn(40, 15, dtype=torch.float64)
    x = 2 * torch.randn(40, dtype=torch.float64)
    theirs = zuko.transforms.MonotonicTransform(lambda x: ours.transform(x, parameters)[0], bound=20.0, eps=1e-12)
    z, log_slope = ours.transform(x, parameters)
    assert (theirs.log_abs_det_jacobian(x, z) - log_slope).abs().max() < 1e-10
    assert (theirs.inv(z) - ours.invert(z, parameters)[0]).abs().max() < 1e-9


def test_linear_map_by_lu_factors_scores_as_zukos_does():
    # Zuko's factors are L with a free diagonal and U with ones; ours the other way round, after a permutation.
    ours = perturb(InvertibleConv1x1LU(FEATURES))
    ours.permutation.copy_(torch.eye(FEATURES))
    with torch.no_grad():
        upper = ours.upper.triu(1) + torch.diag(ours.sign_s * ours.log_abs_s.exp())
        diagonal = upper.diagonal()
        lower = (ours.lower.tril(-1) + torch.eye(FEATURES)) * diagonal
        theirs = zuko.transforms.LULinearTransform(lower + (upper / diagonal[:, None]).triu(1))
        x, _ = data()
        z, log_det = ours(x)
        expected, expected_log_det = theirs.call_and_ladj(x)
        assert (z - expected).abs().max() < ZUKO
        assert (log_det - expected_log_det).abs().max() < ZUKO
        assert (ours.inverse(z) - theirs.inv(expected)).abs().max() < 10 * ZUKO


def test_permutation_is_zukos():
    order = [2, 0, 1]
    x, _ = data()
    assert torch.equal(Permutation(order)(x)[0], zuko.transforms.PermutationTransform(torch.tensor(order))(x))


class Velocity(nn.Module):
    def __init__(self, theirs) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, t, x, context):
        return self.theirs.f(t, x, context.features)


def test_continuous_flow_scores_as_zukos_does():
    config = {"hidden_features": (16,), "activation": nn.Tanh, "atol": 1e-8, "rtol": 1e-8}
    theirs = perturb(zuko.flows.CNF(FEATURES, CONTEXT, **config)).double()
    ours = Continuous(Velocity(theirs.transform), rtol=1e-8, atol=1e-8)
    x, context = (tensor.double() for tensor in data())
    assert largest_gap(ours, theirs, x, context) < ZUKO


def test_zukos_flow_serves_as_a_bijection_with_context_and_learns():
    theirs = perturb(zuko.flows.NSF(FEATURES, CONTEXT, transforms=2, hidden_features=(16, 16)))
    bijection = from_transform(theirs.transform.inv)
    x, context = data()
    assert largest_gap(bijection, theirs, x, context) < ZUKO
    z, log_det = bijection(x, context)
    assert (bijection.inverse(z, context) - x).abs().max() < 1e-4
    log_det.sum().backward()
    assert all(parameter.grad is not None for parameter in bijection.parameters())
