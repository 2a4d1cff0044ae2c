"""The two-dimensional WaveNet: what an output row is told, and the same network row by row."""

import pytest
import torch
from tolerances import PADDING

from waveflow.nn.context import Context
from waveflow.nn.wavenet2d import WaveNet2D


def largest(difference):
    return difference.abs().max().item()


def network(height_dilations=(1, 1, 1), **changes):
    net = WaveNet2D(
        1, 2, context_channels=3, n_channels=4, n_layers=3, height_dilations=height_dilations, **changes
    ).double()
    torch.nn.init.normal_(net.end.weight)
    return net


def data(height=9, width=11):
    return (torch.randn(2, c, height, width, dtype=torch.float64) for c in (1, 3))


def test_an_output_row_is_told_its_own_input_row_and_those_above_alone():
    net, (x, features) = network(), data()
    before = net(x, Context(features))
    x[:, :, 4] += 1
    moved = (net(x, Context(features)) - before).abs().amax((0, 1, 3)) > PADDING
    # Three layers that reach two rows up.
    assert moved.tolist() == [False] * 4 + [True] * 5


def test_an_output_row_is_told_its_own_row_of_the_context_and_those_above():
    net, (x, features) = network(), data()
    before = net(x, Context(features))
    features[:, :, 4] += 1
    moved = (net(x, Context(features)) - before).abs().amax((0, 1, 3)) > PADDING
    assert moved.tolist() == [False] * 4 + [True] * 5


def test_receptive_field_is_that_of_the_columns():
    net = network()
    x, features = data(width=41)
    before = net(x, Context(features))
    x[:, :, 4, 20] += 1
    moved = ((net(x, Context(features)) - before).abs().amax((0, 1, 2)) > PADDING).nonzero()
    assert [20 - moved.min(), moved.max() - 20] == [net.receptive_field] * 2 == [7, 7]


@pytest.mark.parametrize("height_dilations", [(1, 1, 1), (1, 2, 1), (1, 2, 4), (4, 2, 1)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_row_by_row_gives_what_all_rows_at_once_give(height_dilations, kernel_size, masked):
    net, (x, features) = network(height_dilations, kernel_size=kernel_size), data()
    mask = (torch.arange(11) < torch.tensor([11, 6])[:, None]).double()[:, None] if masked else None
    expected = net(x, Context(features, mask))
    rows = net.rows(mask)
    found = torch.stack([rows(x[:, :, i], features[:, :, i]) for i in range(9)], dim=2)
    if masked:
        found, expected = found * mask[:, None], expected * mask[:, None]
    assert largest(found - expected) < PADDING


def test_each_layer_remembers_the_rows_its_convolution_spans_and_no_more():
    net, (x, features) = network((1, 2, 1)), data()
    rows = net.rows()
    for i in range(9):
        rows(x[:, :, i], features[:, :, i])
    assert [len(layer[-1]) for layer in rows._layers] == [3, 5, 3]


def test_dilations_must_be_one_per_layer():
    with pytest.raises(ValueError, match="3 dilations and 2 height_dilations were given for n_layers=3"):
        network((1, 2))


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="must be odd"):
        network(kernel_size=2)
