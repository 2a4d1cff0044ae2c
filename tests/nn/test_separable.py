"""Separable convolutions: folding their normalisation, and keeping padding out of its statistics."""

import pytest
import torch
from tolerances import PADDING

from waveflow.nn.context import Context
from waveflow.nn.separable import FoldedSeparableConv, MaskedBatchNorm, SeparableConv, SeparableWaveNet


def largest(difference):
    return difference.abs().max().item()


def trained(kernel_size=3):
    layer = SeparableConv(4, 6, kernel_size).double().eval()
    with torch.no_grad():
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
        layer.norm.weight.normal_()
        layer.norm.weight[0] = 0
        layer.norm.bias.normal_()
    return layer


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 9])
def test_folding_is_exact_up_to_both_ends(kernel_size, length):
    layer = trained(kernel_size)
    x = torch.randn(2, 4, length, dtype=torch.float64)
    folded = layer.folded()
    assert isinstance(folded, FoldedSeparableConv)
    assert largest(folded(x) - layer(x)) < PADDING


def test_folding_without_care_for_the_padding_would_err_at_the_ends_alone():
    layer = trained()
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    folded = layer.folded()
    folded.share.zero_()
    error = (folded(x) - layer(x)).abs()
    assert error[..., 1:-1].max() < PADDING
    assert min(error[..., 0].max(), error[..., -1].max()) > 0.01


def test_folding_is_exact_up_to_the_end_of_each_item_of_a_padded_batch():
    layer = trained(5)
    x = torch.randn(3, 4, 9, dtype=torch.float64)
    lengths = [9, 7, 1]
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).double()[:, None]
    found = layer.folded()(x, mask)
    for i, n in enumerate(lengths):
        assert largest(found[i, :, :n] - layer(x[i : i + 1, :, :n])[0]) < PADDING


def test_without_normalisation_there_is_nothing_to_fold():
    layer = SeparableConv(4, 6, 3, batch_norm=False)
    assert layer.folded() is layer


def test_statistics_leave_out_the_padding():
    x = torch.randn(3, 4, 9, dtype=torch.float64)
    lengths = [9, 6, 2]
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).double()[:, None]
    masked, plain = MaskedBatchNorm(4).double(), torch.nn.BatchNorm1d(4).double()
    with torch.no_grad():
        for norm in (masked, plain):
            norm.weight.copy_(torch.arange(1, 5))
            norm.bias.copy_(torch.arange(4))
    joined = torch.cat([x[i, :, :n] for i, n in enumerate(lengths)], dim=1)[None]
    expected = plain(joined)[0].split(lengths, dim=1)
    found = masked(x + 100 * (1 - mask), mask)
    for i, n in enumerate(lengths):
        assert largest(found[i, :, :n] - expected[i]) < PADDING
        assert not found[i, :, n:].any()
    for key, value in plain.state_dict().items():
        assert largest(masked.state_dict()[key] - value) < PADDING, key


def test_one_position_of_the_features_belongs_to_several_of_the_input():
    net = SeparableWaveNet(2, 4, context_channels=3, n_channels=6, n_layers=2, repeat=2).double()
    torch.nn.init.normal_(net.end.weight)
    x, features = torch.randn(1, 2, 7, dtype=torch.float64), torch.randn(1, 3, 4, dtype=torch.float64)
    twice = features.repeat_interleave(2, dim=2)[..., :7]
    found = net(x, Context(features))
    net.repeat = 1
    assert largest(found - net(x, Context(twice))) < PADDING


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="must be odd"):
        SeparableWaveNet(2, 4, context_channels=3, n_channels=6, n_layers=2, kernel_size=4)
