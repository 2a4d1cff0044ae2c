"""The check that is offered for bijections of one's own: it finds what is wrong. `test_contract.py` has ours."""

import pytest
import torch
from torch import nn

from waveflow.bijections import AffineCoupling, Bijection, BrokenPromise, check_bijection
from waveflow.bijections.base import sum_log_det
from waveflow.nn import WaveNet


class Scale(Bijection):
    """A gain for each channel, and one fault at a time."""

    def __init__(self, fault=None):
        super().__init__()
        self.fault = fault
        self.log_s = nn.Parameter(torch.tensor([[0.3], [-0.2]], dtype=torch.float64))
        self.idle = nn.Parameter(torch.ones(1, dtype=torch.float64)) if fault == "idle" else None

    def forward(self, x, context=None, /):
        log_s = self.log_s.expand_as(x)
        log_det = sum_log_det(log_s, None if self.fault == "padding" else context)
        if self.fault == "log_det":
            log_det = log_det + 0.1
        if self.fault == "shape":
            log_det = log_det.sum()
        z = torch.exp(log_s) * x
        return z - z.mean(0, keepdim=True) if self.fault == "batch" else z, log_det

    def inverse(self, z, context=None, /):
        return z * (1 if self.fault == "inverse" else torch.exp(-self.log_s))

    def inverse_and_log_det(self, z, context=None, /):
        _, log_det = self(z, context)
        return torch.exp(-self.log_s) * z, log_det if self.fault == "sign" else -log_det


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("log_det", r"log_det and that of autograd's Jacobian differ by 0\.1"),
        ("shape", r"log_det has shape \(\), expected one number an item"),
        ("batch", "an item of a batch and the item alone differ"),
        ("inverse", "data and what its latent goes back to differ"),
        ("sign", "that of the way back, negated differ"),
        ("idle", "no gradient reaches idle"),
        ("padding", "log_det of a padded item and of the item alone differ"),
    ],
)
def test_each_fault_is_named(fault, message):
    x, lengths = torch.randn(2, 2, 5, dtype=torch.float64), torch.tensor([5, 3])
    check_bijection(Scale(), x, lengths=lengths)
    with pytest.raises(BrokenPromise, match=message):
        check_bijection(Scale(fault), x, lengths=lengths)


def test_padding_is_checked_with_context_too():
    coupling = AffineCoupling(WaveNet(2, 4, context_channels=3, n_channels=6, n_layers=2)).double()
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x, context = torch.randn(2, 4, 6, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    check_bijection(coupling, x, context, lengths=torch.tensor([6, 4]))


@pytest.mark.parametrize("x", [torch.zeros(1, 2, 3).double(), torch.zeros(2, 2, 3)], ids=["one item", "float32"])
def test_data_that_cannot_tell_are_refused(x):
    with pytest.raises(ValueError, match="expected float64 of at least two items"):
        check_bijection(Scale(), x)
