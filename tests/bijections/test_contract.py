"""What every bijection promises, whatever it is made of."""

import inspect

import pytest
import torch
from cases import CASES, Case
from tolerances import LOG_DET, PADDING, ROUND_TRIP
from torch import Tensor

from waveflow import bijections
from waveflow.bijections import Bijection, check_bijection
from waveflow.nn import Context

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_smooth = pytest.mark.parametrize(
    "case", [case for case in CASES if case.n_symbols is None], ids=lambda case: case.name
)


def test_every_family_of_the_package_is_a_case():
    tried = {type(module) for case in CASES for module in case.build().modules()}
    kinds = (Bijection, bijections.Elementwise)
    exported = {kind for kind in vars(bijections).values() if inspect.isclass(kind) and issubclass(kind, kinds)}
    assert exported - tried == {*kinds, bijections.Coupling}


def perturbed(case: Case, dtype: torch.dtype = torch.float64) -> Bijection:
    """A fresh coupling is the identity and a fresh rotation has log_det 0: move every weight away."""
    bijection = case.build().to(dtype).eval()
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return bijection


def data(case: Case, batch: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor | None]:
    context = None if case.context is None else torch.randn(batch, *case.context, dtype=dtype)
    return random_like(case, torch.empty(batch, *case.shape, dtype=dtype)), context


def random_like(case: Case, x: Tensor) -> Tensor:
    """Data or latent of x's shape: normal, or symbols as one-hot vectors."""
    if case.n_symbols is None:
        return torch.randn_like(x)
    return torch.nn.functional.one_hot(torch.randint(case.n_symbols, x.shape[:-1]), case.n_symbols).to(x.dtype)


def bound(case: Case, table: dict[torch.dtype, float], dtype: torch.dtype = torch.float64) -> float:
    return table[dtype] if case.solved is None or dtype != torch.float64 else max(table[dtype], 10 * case.solved)


def largest(difference: Tensor) -> float:
    return difference.abs().max().item()


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_inverse_undoes_forward_and_forward_undoes_inverse(case, dtype):
    bijection, (x, context) = perturbed(case, dtype), data(case, dtype=dtype)
    z, log_det = bijection(x, context)
    assert z.dtype == log_det.dtype == dtype
    assert log_det.shape == (len(x),)
    assert largest(bijection.inverse(z, context) - x) < bound(case, ROUND_TRIP, dtype)
    other = random_like(case, z)
    assert largest(bijection(bijection.inverse(other, context), context)[0] - other) < bound(case, ROUND_TRIP, dtype)


@every
def test_weights_were_perturbed_away_from_a_trivial_map(case):
    bijection, (x, context) = perturbed(case), data(case)
    z, _ = bijection(x, context)
    assert largest(z.flatten(1) - x.flatten(1)) > 1e-2


@every_smooth
def test_what_is_promised_of_every_bijection_is_kept(case):
    bijection, (x, context) = perturbed(case), data(case, batch=2)
    check_bijection(bijection, x, context, tolerance=bound(case, LOG_DET))


@every
def test_inverse_and_log_det_agrees_with_inverse_and_forward(case):
    bijection, (x, context) = perturbed(case), data(case)
    z = random_like(case, bijection(x, context)[0])
    x, log_det = bijection.inverse_and_log_det(z, context)
    assert largest(x - bijection.inverse(z, context)) < bound(case, ROUND_TRIP)
    assert largest(log_det + bijection(x.detach(), context)[1]) < bound(case, LOG_DET)


@every
def test_an_item_is_blind_to_the_rest_of_its_batch(case):
    bijection, (x, context) = perturbed(case), data(case)
    z, log_det = bijection(x, context)
    other_x, other_context = data(case)
    other_x[0] = x[0]
    if context is not None:
        other_context[0] = context[0]
    other_z, other_log_det = bijection(other_x, other_context)
    tolerance = case.solved or PADDING
    assert largest(other_z[0] - z[0]) < tolerance
    assert abs(other_log_det[0] - log_det[0]) < tolerance
    assert largest(bijection.inverse(other_z, other_context)[0] - x[0]) < bound(case, ROUND_TRIP)


@every
def test_gradients_reach_every_parameter_the_data_and_the_context(case):
    bijection, (x, context) = perturbed(case), data(case)
    x.requires_grad_()
    told = [] if context is None else [context.requires_grad_()]
    z, log_det = bijection(x, context)
    loss = z.square().sum() + (log_det * torch.arange(1, len(x) + 1)).sum()
    named = dict(bijection.named_parameters())
    gradients = torch.autograd.grad(loss, [x, *told, *named.values()])
    for name, gradient in zip(["x", *["context" for _ in told], *named], gradients):
        assert gradient.isfinite().all(), name
        assert largest(gradient) > 0, name


@every_smooth
def test_gradients_through_the_inverse_are_those_of_the_implicit_function(case):
    # forward(inverse(z)) is z whatever the weights, so that it has no gradient but the one of z itself.
    bijection, (x, context) = perturbed(case), data(case)
    z = random_like(case, bijection(x, context)[0]).requires_grad_()
    told = [] if context is None else [context.requires_grad_()]
    weight = torch.randn_like(z)
    again = bijection(bijection.inverse(z, context), context)[0]
    parameters = list(bijection.parameters())
    gradients = torch.autograd.grad((weight * again).sum(), [z, *told, *parameters], allow_unused=True)
    assert largest(gradients[0] - weight) < bound(case, LOG_DET)
    for gradient in gradients[1:]:
        assert gradient is None or largest(gradient) < bound(case, LOG_DET)


@every
def test_state_dict_carries_all_that_the_map_depends_on(case):
    bijection, (x, context) = perturbed(case), data(case)
    copy = case.build().double().eval()
    copy.load_state_dict(bijection.state_dict())
    for original, copied in zip(bijection(x, context), copy(x, context)):
        assert torch.equal(original, copied)


@every
def test_scoring_without_gradients_gives_the_same(case):
    bijection, (x, context) = perturbed(case), data(case)
    z, log_det = bijection(x, context)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            quiet_z, quiet_log_det = bijection(x, context)
            back = bijection.inverse(quiet_z, context)
        assert not quiet_z.requires_grad
        assert not back.requires_grad
        assert largest(quiet_z - z) < PADDING
        assert largest(quiet_log_det - log_det) < PADDING


@pytest.mark.parametrize("case", [c for c in CASES if c.positions], ids=lambda case: case.name)
def test_padded_batch_gives_each_item_what_it_gives_alone(case):
    bijection, (x, context) = perturbed(case), data(case)
    lengths = [case.positions, case.positions - 1, case.positions - 2]
    mask = (torch.arange(case.positions) < torch.tensor(lengths)[:, None]).double()[:, None]
    z, log_det = bijection(x, Context(context, mask))
    back = bijection.inverse(z, Context(context, mask))
    for i, n in enumerate(lengths):
        n_x, n_z = (n * t.shape[-1] // case.positions for t in (x, z))
        told = None if context is None else context[i : i + 1, ..., :n]
        alone, alone_log_det = bijection(x[i : i + 1, ..., :n_x], told)
        assert largest(z[i, ..., :n_z] - alone[0]) < PADDING
        assert abs(log_det[i] - alone_log_det[0]) < PADDING
        assert largest(back[i, ..., :n_x] - x[i, ..., :n_x]) < bound(case, ROUND_TRIP)


@pytest.mark.parametrize("case", [c for c in CASES if c.autocast], ids=lambda case: case.name)
def test_autocast_keeps_the_map_invertible(case):
    bijection, (x, context) = perturbed(case, torch.float32), data(case, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = bijection(x, context)
        back = bijection.inverse(z, context)
    assert z.dtype == log_det.dtype == torch.float32
    assert largest(back - x) < ROUND_TRIP[torch.float32]


@every
def test_no_items_are_a_batch_too(case):
    bijection, (x, context) = perturbed(case), data(case)
    told = None if context is None else context[:0]
    z, log_det = bijection(x[:0], told)
    assert (len(z), log_det.shape) == (0, (0,))
    assert bijection.inverse(z, told).shape == x[:0].shape
    assert bijection.inverse_and_log_det(z, told)[1].shape == (0,)


@every_smooth
def test_log_det_of_half_precision_is_summed_in_single(case):
    bijection, (x, context) = perturbed(case, torch.bfloat16), data(case, dtype=torch.bfloat16)
    z, log_det = bijection(x, context)
    assert (z.dtype, log_det.dtype) == (torch.bfloat16, torch.float32)
    assert z.isfinite().all()
    assert log_det.isfinite().all()


@every_smooth
def test_data_of_another_size_are_refused(case):
    bijection, (x, context) = perturbed(case), data(case)
    if isinstance(bijection, bijections.Squeeze2d):
        pytest.skip("a reshaping of any number of channels")
    for other in (x[:, :1], torch.cat([x, x], dim=1)[:, : x.shape[1] + 1]):
        if other.shape != x.shape:
            with pytest.raises((ValueError, RuntimeError)):
                bijection(other, context)
