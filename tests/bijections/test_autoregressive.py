import torch

from waveflow.bijections import IAF, MAF, NAF, AffineMap, GatedMap, SigmoidalMap


def stirred(bijection):
    with torch.no_grad():
        for parameter in bijection.double().parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return bijection


def test_jacobian_is_triangular_in_the_order():
    maf = stirred(MAF(5, 1, random_orders=True, n_channels=16))
    order = maf.steps[0].conditioner.order
    jacobian = torch.autograd.functional.jacobian(lambda x: maf(x[None])[0][0], torch.randn(5, dtype=torch.float64))
    jacobian = jacobian[order][:, order]
    assert torch.equal(jacobian.triu(1), torch.zeros(5, 5, dtype=torch.float64))
    assert (jacobian.tril(-1).abs().sum(1)[1:] > 0).all()


def test_orders_alternate_unless_they_are_random():
    assert [step.conditioner.order.tolist() for step in MAF(3, 3)] == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]
    orders = {tuple(step.conditioner.order.tolist()) for step in MAF(6, 20, random_orders=True)}
    assert len(orders) > 10


def test_weights_of_random_orders_load_into_any_flow_of_the_size():
    original, other = stirred(MAF(4, 5, random_orders=True)), MAF(4, 5).double()
    other.load_state_dict(original.state_dict())
    x = torch.randn(3, 4, dtype=torch.float64)
    z, _ = other(x)
    assert torch.equal(z, original(x)[0])
    assert torch.allclose(other.inverse(z), x, atol=1e-9)


def test_inverse_autoregression_samples_in_one_pass_of_each_network():
    calls = []
    iaf = stirred(IAF(6, 3))
    for step in iaf.bijection:
        step.conditioner.register_forward_hook(lambda *_: calls.append(1))
    z = torch.randn(2, 6, dtype=torch.float64)
    x, _ = iaf.inverse_and_log_det(z)
    assert len(calls) == 3
    assert torch.allclose(iaf(x)[0], z, atol=1e-9)
    assert len(calls) == 3 + 3 * 6


def test_inverse_autoregression_is_the_gated_mean_of_the_paper():
    iaf = stirred(IAF(3, 1))
    z = torch.randn(2, 3, dtype=torch.float64)
    step = iaf.bijection.steps[0]
    m, s = step.conditioner(z).unbind(-1)
    gate = 0.01 + 0.99 * torch.sigmoid(s + 2)
    x, log_det = iaf.inverse_and_log_det(z)
    assert torch.allclose(x, gate * z + (1 - gate) * m)
    assert torch.allclose(log_det, gate.log().sum(1))


def test_gates_narrow_whatever_they_are_told_and_affine_maps_need_not():
    gated, affine = IAF(3, 2), IAF(3, 2, elementwise=AffineMap(max_log_s=3.0))
    widened = []
    for iaf in (gated, affine):
        with torch.no_grad():
            for parameter in iaf.parameters():
                parameter.normal_()
        widened.append((iaf.inverse_and_log_det(torch.randn(200, 3))[1] > 0).any())
    assert widened == [False, True]


def test_density_far_from_the_data_is_a_number():
    maf = MAF(2, 8)
    with torch.no_grad():
        for step in maf:
            step.conditioner.layers[-1].weight.normal_(std=3)
    z, log_det = maf(1e3 * torch.randn(50, 2))
    assert log_det.isfinite().all()
    assert z.isfinite().all()


def test_closed_gate_does_not_overflow():
    x, log_slope = GatedMap().invert(torch.tensor([1e3]), torch.tensor([[-5.0, -200.0]]))
    assert x.isfinite().all()
    assert log_slope.isfinite().all()


def test_mixture_of_sigmoids_stays_finite_and_increasing_far_out():
    mapping, parameters = SigmoidalMap(6), 3 * torch.randn(18)
    x = torch.tensor([-1e4, -1e3, -10.0, 0.0, 10.0, 1e3, 1e4])
    z, log_slope = mapping.transform(x, parameters.expand(7, -1))
    assert z.isfinite().all()
    assert log_slope.isfinite().all()
    assert (z.diff() > 0).all()


def test_mixture_of_sigmoids_makes_several_modes():
    # Two steep sigmoids far apart: the map is steep twice, flat between, which no affine map is.
    a, b, w = torch.tensor([8.0, 8.0]), torch.tensor([-24.0, 24.0]), torch.zeros(2)
    mapping = SigmoidalMap(2)
    parameters = torch.cat([a, b - mapping.spread, w])
    _, log_slope = mapping.transform(torch.tensor([-3.0, 0.0, 3.0]), parameters.expand(3, -1))
    assert log_slope[0] > log_slope[1] + 2
    assert log_slope[2] > log_slope[1] + 2


def test_mixture_of_sigmoids_is_inverted_on_a_plateau_that_float32_cannot_resolve():
    mapping = SigmoidalMap(2)
    a, b = torch.tensor([40.0, 40.0]), torch.tensor([-400.0, 400.0])
    parameters = torch.cat([a, b - mapping.spread, torch.tensor([0.0, 0.7])]).expand(4001, -1)
    z, _ = mapping.transform(torch.linspace(-12, 12, 4001), parameters)
    x, log_slope = mapping.invert(z, parameters)
    assert x.isfinite().all()
    assert log_slope.isfinite().all()
    assert (mapping.transform(x, parameters)[0] - z).abs().max() < 1e-3


def test_mixture_of_sigmoids_is_inverted_also_where_a_unit_has_gone_flat():
    mapping = SigmoidalMap(3)
    a, b, w = torch.tensor([-200.0, 0.5, 1.0]), torch.tensor([0.3, -0.2, 0.4]), torch.tensor([-2.0, 0.0, 0.0])
    parameters = torch.cat([a, b, w]).expand(9, -1)
    x = torch.linspace(-1, 1, 9)
    z, log_slope = mapping.transform(x, parameters)
    assert log_slope.isfinite().all()
    assert (mapping.invert(z, parameters)[0] - x).abs().max() < 1e-4


def test_units_of_a_fresh_map_get_different_gradients():
    naf = NAF(2, 1, n_units=4)
    _, log_det = naf(torch.randn(16, 2))
    log_det.sum().backward()
    bias = naf.steps[0].conditioner.layers[-1].bias.grad.view(2, 3, 4)
    assert bias.std(dim=-1)[:, :2].min() > 1e-4
