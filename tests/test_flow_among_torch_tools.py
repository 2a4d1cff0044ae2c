"""A density is a module like any other: what wraps, compiles, differentiates or copies modules takes it."""

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from waveflow.bijections import IAF, MAF, NSF, RealNVP
from waveflow.distributions import Flow, StandardNormal


def stirred(bijection, n_features=3):
    flow = Flow(StandardNormal(n_features), bijection)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ddp_wraps_a_density_whose_log_prob_is_the_loss(one_process):
    flow, x, context = stirred(MAF(3, 2, context_channels=2, n_channels=8)), torch.randn(5, 3), torch.randn(5, 2)
    wrapped = DistributedDataParallel(flow)
    log_prob = wrapped(x, context)
    assert torch.equal(log_prob, flow.log_prob(x, context))
    log_prob.mean().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_gradients_of_each_item_by_functional_call_are_those_of_each_item_alone():
    flow, x = stirred(NSF(3, 2, n_channels=8)), torch.randn(4, 3)
    parameters = dict(flow.named_parameters())

    def loss(parameters, item):
        return -torch.func.functional_call(flow, parameters, (item,))

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    flow.zero_grad()
    (-flow.log_prob(x[2])).backward()
    for name, parameter in parameters.items():
        assert torch.allclose(gradients[name][2], parameter.grad, atol=1e-5), name


@pytest.mark.parametrize("family", [IAF, MAF, NSF, RealNVP])
def test_torch_compile_takes_scoring_and_drawing_in_one_graph(family):
    flow, x = stirred(family(3, 2, n_channels=8)), torch.randn(4, 3)
    compiled = torch.compile(flow, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), flow.log_prob(x), atol=1e-5)
    draw = torch.compile(flow.rsample_and_log_prob, fullgraph=True, backend="aot_eager")
    drawn, log_prob = draw((5,))
    assert torch.allclose(flow.log_prob(drawn), log_prob, atol=1e-4)
