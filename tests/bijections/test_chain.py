import pytest
import torch
from torch import nn

from waveflow.bijections import AffineCoupling, Bijection, Chain, EarlyOutputs, InverseNotAvailable
from waveflow.bijections.base import sum_log_det, zero_log_det
from waveflow.nn import Context


class Multiply(Bijection):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x, context=None, /):
        return self.factor * x, torch.full((len(x),), self.factor).log() * x[0].numel()


class Shift(Bijection):
    def forward(self, x, context=None, /):
        return x + 1, zero_log_det(x)

    def inverse(self, z, context=None, /):
        return z - 1


def test_chain_applies_its_steps_from_data_to_latent_in_order():
    z, log_det = Chain([Shift(), Multiply(3.0)])(torch.zeros(2, 4))
    assert torch.equal(z, torch.full((2, 4), 3.0))
    assert torch.allclose(log_det, 4 * torch.tensor(3.0).log())


def test_family_without_an_inverse_says_so_by_name():
    with pytest.raises(InverseNotAvailable, match="Multiply has no inverse"):
        Chain([Multiply(2.0)]).inverse(torch.zeros(1, 2))


def test_early_outputs_come_first_in_the_latent_in_the_order_they_left():
    steps = [Multiply(2.0), Multiply(3.0), Multiply(5.0)]
    z, _ = EarlyOutputs(steps, [1, 0, 2])(torch.ones(1, 6, 1))
    assert z.flatten().tolist() == [1, 6, 6, 30, 30, 30]


def test_early_outputs_leave_from_the_first_channels():
    z, _ = EarlyOutputs([Shift(), Shift()], [0, 2])(torch.arange(4.0).view(1, 4, 1))
    assert z.flatten().tolist() == [1, 2, 4, 5]
    back = EarlyOutputs([Shift(), Shift()], [0, 2]).inverse(z)
    assert back.flatten().tolist() == [0, 1, 2, 3]


def test_early_needs_one_entry_per_step():
    with pytest.raises(ValueError, match="one per step"):
        EarlyOutputs([Shift(), Shift()], [2])


def test_coupling_refuses_an_odd_number_of_channels():
    with pytest.raises(ValueError, match="even number"):
        AffineCoupling(nn.Identity())(torch.zeros(1, 3, 2))


def test_fresh_coupling_passes_one_half_and_the_other_changes():
    coupling = AffineCoupling(lambda x, context: torch.cat([x + 1, x], dim=1), swap=True)
    x = torch.randn(2, 4, 3)
    z, _ = coupling(x)
    assert torch.equal(z[:, 2:], x[:, 2:])
    assert not torch.equal(z[:, :2], x[:, :2])


def test_log_det_leaves_out_the_padding_and_is_never_below_float32():
    log_s = torch.ones(2, 3, 4, dtype=torch.bfloat16)
    mask = torch.tensor([[[1, 1, 1, 1]], [[1, 0, 0, 0]]], dtype=torch.bfloat16)
    total = sum_log_det(log_s, Context(None, mask))
    assert total.tolist() == [12, 3]
    assert total.dtype == torch.float32
