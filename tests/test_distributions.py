import pytest
import torch
from torch import nn
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.distributions.transforms import AbsTransform, CumulativeDistributionTransform

from waveflow.bijections import IAF, MAF, NSF, Affine, Chain, DiscreteAutoregressive, InvertibleConv1x1, Planar, Squeeze
from waveflow.distributions import Flow, IndependentSymbols, StandardNormal, as_transform, from_transform
from waveflow.nn import Context
from waveflow.nn.made import MADE


def stirred(module: nn.Module, amount: float = 0.3) -> nn.Module:
    """The module in float64, with weights away from where they start."""
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
    return module


def test_log_prob_of_a_linear_flow_is_the_normal_it_makes():
    flow = stirred(Flow(StandardNormal(3), Chain([InvertibleConv1x1(3), Affine(3)])))
    mixing, affine = flow.bijection
    t, log_s = affine.parameter.value.detach()
    back = torch.linalg.inv(mixing.weight.detach()) / log_s.exp()
    normal = MultivariateNormal(-back @ t, back @ back.T)
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.allclose(flow.log_prob(x), normal.log_prob(x), atol=1e-10)


def test_samples_have_the_moments_of_the_normal_they_come_from():
    flow = stirred(Flow(StandardNormal(2), Affine(2)))
    t, log_s = flow.bijection.parameter.value.detach()
    samples = flow.sample(20000)
    assert torch.allclose(samples.mean(0), -t * torch.exp(-log_s), atol=0.05)
    assert torch.allclose(samples.std(0), torch.exp(-log_s), rtol=0.03)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_density_integrates_to_one(autoregressive):
    flow = stirred(Flow(StandardNormal(2), NSF(2, 3, autoregressive=autoregressive, n_channels=8)), amount=0.15)
    axis = torch.linspace(-6, 6, 250, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("family", [MAF, IAF])
def test_drawing_and_scoring_in_one_pass_agrees_with_scoring_the_draw(family):
    flow = stirred(Flow(StandardNormal(3), family(3, 2, context_channels=2, n_channels=8)))
    context = torch.randn(4, 2, dtype=torch.float64)
    x, log_prob = flow.rsample_and_log_prob(4, context)
    assert torch.allclose(flow.log_prob(x, context), log_prob, atol=1e-9)


def test_rsample_carries_gradients_and_sample_does_not():
    flow = stirred(Flow(StandardNormal(2), Planar(2)))
    assert not flow.sample(3).requires_grad
    flow.rsample(3).sum().backward()
    assert flow.bijection.parameter.value.grad.abs().max() > 0


def test_leading_dimensions_are_kept():
    flow = stirred(Flow(StandardNormal(2), MAF(2, 2, n_channels=8)))
    x = flow.sample((4, 5))
    assert x.shape == (4, 5, 2)
    assert flow.log_prob(x).shape == (4, 5)
    assert torch.allclose(flow.log_prob(x)[1, 2], flow.log_prob(x[1, 2]))
    assert flow.log_prob(x[0, 0]).shape == ()
    assert flow.sample(()).shape == (2,)


def test_one_item_of_context_serves_all():
    flow = stirred(Flow(StandardNormal(2), MAF(2, 2, context_channels=3, n_channels=8)))
    context, x = torch.randn(1, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    assert torch.allclose(flow.log_prob(x, context), flow.log_prob(x, context.expand(4, 3)))
    assert torch.allclose(flow.log_prob(x, Context(context)), flow.log_prob(x, context))
    assert flow.sample(6, context).shape == (6, 2)


@pytest.mark.parametrize("told", [False, True])
def test_context_of_each_serves_many_draws_of_each(told):
    flow = stirred(Flow(ToldNormal() if told else StandardNormal(2), MAF(2, 2, context_channels=2, n_channels=8)))
    context = torch.randn(4, 2, dtype=torch.float64)
    drawn, log_prob = flow.rsample_and_log_prob((3, 4), context)
    assert drawn.shape == (3, 4, 2)
    assert torch.allclose(flow.log_prob(drawn, context), log_prob, atol=1e-9)
    assert torch.allclose(flow.log_prob(drawn[1, 2], context[2:3]), log_prob[1, 2], atol=1e-9)
    assert torch.allclose(flow.log_prob(drawn, context.repeat(3, 1)), log_prob, atol=1e-9)
    transform, z = as_transform(flow.bijection, context), torch.randn(3, 4, 2, dtype=torch.float64)
    assert torch.allclose(transform(z)[1], flow.bijection.inverse(z[1], context), atol=1e-9)


def test_context_of_another_batch_is_refused():
    flow = Flow(StandardNormal(2), MAF(2, 2, context_channels=3, n_channels=8))
    with pytest.raises(ValueError, match=r"\(2, 3\) is of 2 items, but there are 5"):
        flow.log_prob(torch.zeros(5, 2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\(2, 3\) is of 2 items, but there are 5"):
        flow.sample(5, torch.zeros(2, 3))


def test_padded_batch_is_refused_with_the_remedy():
    flow = Flow(StandardNormal(2, 3), Affine(2))
    with pytest.raises(ValueError, match=r"losses\.log_likelihood"):
        flow.log_prob(torch.zeros(1, 2, 3), Context(None, torch.ones(1, 1, 3)))


def test_base_with_a_batch_of_its_own_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="Independent"):
        Flow(Normal(torch.zeros(2), torch.ones(2)), Affine(2))
    assert Flow(Independent(Normal(torch.zeros(2), torch.ones(2)), 1), Affine(2)).sample(3).shape == (3, 2)


def test_what_is_no_base_or_no_bijection_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"base is Affine.*Flow\(StandardNormal"):
        Flow(Affine(2), StandardNormal(2))
    with pytest.raises(ValueError, match="base is the class StandardNormal"):
        Flow(StandardNormal, Affine(2))
    with pytest.raises(ValueError, match=r"bijection is list.*Chain"):
        Flow(StandardNormal(2), [Affine(2), Affine(2)])
    with pytest.raises(ValueError, match=r"bijection is TanhTransform.*from_transform"):
        Flow(StandardNormal(2), TanhTransform())
    with pytest.raises(ValueError, match=r"one by one: StandardNormal\(2, 3\)"):
        StandardNormal((2, 3))


def test_base_over_another_shape_than_the_latent_is_refused():
    with pytest.raises(ValueError, match=r"items of shape \(2,\), but the base is over \(3,\)"):
        Flow(StandardNormal(3), NSF(2, 1)).log_prob(torch.zeros(5, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
@pytest.mark.parametrize("family", [Affine, MAF, NSF, Planar])
def test_data_of_another_precision_than_the_weights_is_refused(family, dtype):
    with pytest.raises(ValueError, match=rf"data is {dtype}, .* x\.to\(torch\.float32\)"):
        Flow(StandardNormal(2), family(2)).log_prob(torch.zeros(5, 2, dtype=dtype))


def test_base_without_gradients_is_sampled_and_refuses_to_be_with_them():
    normals = Independent(Normal(torch.randn(3, 2), torch.ones(3, 2)), 1)
    flow = Flow(MixtureSameFamily(Categorical(torch.ones(3)), normals), Affine(2))
    assert flow.sample(5).shape == (5, 2)
    with torch.no_grad():
        x, log_prob = flow.rsample_and_log_prob(5)
    assert torch.allclose(flow.log_prob(x), log_prob, atol=1e-5)
    for draw in (flow.rsample, flow.rsample_and_log_prob):
        with pytest.raises(ValueError, match=r"base is MixtureSameFamily, .*flow\.sample"):
            draw(5)


class ToldNormal(nn.Module):
    def forward(self, context):
        return Independent(Normal(context, torch.ones_like(context)), 1)


def test_base_may_be_told_the_context():
    flow = Flow(ToldNormal(), Affine(2))
    context = torch.tensor([[100.0, 0.0], [0.0, -100.0]])
    assert (flow.sample(2, context) - context).abs().max() < 10
    assert flow.sample(5, context[:1])[:, 0].min() > 90
    assert torch.allclose(flow.log_prob(context, context), torch.full((2,), -torch.pi).mul(2).abs().log().neg())


def test_base_moves_with_the_flow():
    flow = Flow(StandardNormal(3), Affine(3)).double()
    assert flow.sample(2).dtype == torch.float64
    assert not [name for name in flow.state_dict() if name.startswith("base")]


def test_event_may_have_any_shape():
    flow = Flow(StandardNormal(2, 3), Affine(2)).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    assert torch.allclose(flow.log_prob(x), Normal(0.0, 1.0).log_prob(x).sum((1, 2)))
    assert flow.sample(5).shape == (5, 2, 3)


def test_squeezed_waveform_has_a_density():
    flow = Flow(StandardNormal(4, 2), Chain([Squeeze(4), Affine(4)]))
    assert flow.sample(3).shape == (3, 8)


def test_discrete_flow_gives_probabilities_that_sum_to_one_and_learns_through_them():
    made = MADE(2, 3, n_inputs=3, n_channels=8)
    flow = stirred(Flow(IndependentSymbols(2, 3), DiscreteAutoregressive(made, temperature=1.0)), amount=1.0)
    pairs = nn.functional.one_hot(torch.cartesian_prod(torch.arange(3), torch.arange(3)), 3).double()
    log_prob = flow.log_prob(pairs)
    assert abs(log_prob.exp().sum() - 1) < 1e-12
    log_prob[0].backward()
    assert all(p.grad.abs().max() > 0 for p in flow.parameters())
    samples = flow.sample(50)
    assert samples.shape == (50, 2, 3)
    assert torch.equal(samples.sum(-1), torch.ones(50, 2, dtype=torch.float64))


@pytest.mark.parametrize("cache_size", [0, 1])
def test_transformed_distribution_scores_as_the_flow_does(cache_size):
    maf = stirred(MAF(3, 2, n_channels=8))
    base = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    distribution = TransformedDistribution(base, [as_transform(maf, cache_size=cache_size)])
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    assert torch.allclose(distribution.log_prob(x), Flow(base, maf).log_prob(x), atol=1e-12)
    assert distribution.rsample((2, 7)).shape == (2, 7, 3)
    drawn = distribution.rsample()
    assert torch.allclose(distribution.log_prob(drawn), Flow(base, maf).log_prob(drawn), atol=1e-9)


def test_cached_determinant_is_that_of_the_pair_asked_for():
    transform = as_transform(stirred(MAF(2, 2, n_channels=8)), cache_size=1)
    x, y = torch.randn(2, 3, 2, dtype=torch.float64)
    _, latent_y = transform.inv(x), transform.inv(y)
    transform.inv(x)
    fresh = as_transform(transform.bijection).log_abs_det_jacobian(latent_y, y)
    assert torch.equal(transform.log_abs_det_jacobian(latent_y, y), fresh)


@pytest.mark.parametrize("bijection", [Affine(3), MAF(3), NSF(3), Planar(3)], ids=lambda b: type(b).__name__)
def test_no_items_are_drawn_and_scored_like_some(bijection):
    flow = Flow(StandardNormal(3), bijection)
    assert flow.log_prob(torch.zeros(0, 3)).shape == (0,)
    assert flow.log_prob(torch.zeros(2, 0, 3)).shape == (2, 0)
    if not isinstance(bijection, Planar):
        x, log_prob = flow.rsample_and_log_prob((0,))
        assert (x.shape, log_prob.shape) == ((0, 3), (0,))


def test_a_bijection_of_other_dimensions_serves_as_no_transform_and_says_what_does():
    reason = r"became .*, but a transform of torch has one event_dim for both; use waveflow\.Flow"
    with pytest.raises(ValueError, match=reason):
        as_transform(Squeeze(4), event_dim=2)(torch.randn(3, 4, 8))
    with pytest.raises(ValueError, match=reason):
        as_transform(Squeeze(4)).inv(torch.randn(3, 32))
    base = Independent(Normal(torch.zeros(4, 8), torch.ones(4, 8)), 2)
    with pytest.raises(ValueError, match=reason):
        TransformedDistribution(base, as_transform(Squeeze(4), event_dim=2)).sample((5,))


def test_bijection_with_context_serves_as_a_transform():
    maf, context = stirred(MAF(3, 2, context_channels=2, n_channels=8)), torch.randn(4, 2, dtype=torch.float64)
    transform, z = as_transform(maf, context), torch.randn(4, 3, dtype=torch.float64)
    x = transform(z)
    assert torch.allclose(x, maf.inverse(z, context))
    assert torch.allclose(transform.inv(x), z, atol=1e-9)
    assert torch.allclose(transform.log_abs_det_jacobian(z, x), maf.inverse_and_log_det(z, context)[1], atol=1e-9)


TRANSFORMS = {
    "affine": AffineTransform(2.0, -3.0),
    "composed": ComposeTransform(
        [AffineTransform(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 0.5])), TanhTransform()]
    ),
    "cdf": CumulativeDistributionTransform(Normal(0.0, 2.0)),
    "ours": as_transform(Affine(2)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_of_torch_serves_as_a_bijection(name):
    transform = TRANSFORMS[name]
    bijection = from_transform(transform)
    z = 0.5 * torch.randn(4, 2)
    x = transform(z)
    back, log_det = bijection(x)
    assert torch.allclose(back, z, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(lambda item: bijection(item[None])[0][0], x[0])
    assert torch.allclose(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, atol=1e-4)
    again, inverse_log_det = bijection.inverse_and_log_det(z)
    assert torch.equal(again, x)
    assert torch.allclose(inverse_log_det, -log_det, atol=1e-4)


def test_there_and_back_is_the_bijection_itself():
    maf, x = stirred(MAF(3, 2, n_channels=8)), torch.randn(4, 3, dtype=torch.float64)
    for ours, theirs in zip(from_transform(as_transform(maf))(x), maf(x)):
        assert torch.equal(ours, theirs)


def test_transform_without_an_inverse_is_refused():
    with pytest.raises(ValueError, match="not bijective"):
        from_transform(AbsTransform())(torch.ones(2, 2))
