import numpy as np
import pytest
import torch
import torch.nn.functional as F

from waveflow.inference.cpu import kernels
from waveflow.inference.cpu.plan import Buffer
from waveflow.inference.cpu.toom_cook import toom_cook

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2**-8}


def tiles_of(rows, d):
    """`(4, n_tiles)`, the rows of each tile, for as many tiles as cover the rows."""
    u = torch.arange(-(-rows // (4 * d)) * d)
    return u // d * 4 * d + u % d + torch.arange(4)[:, None] * d


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "d"), [(1, 1), (7, 1), (7, 2), (13, 4), (50, 8), (3, 16)])
def test_values_times_taps_make_a_dilated_convolution(rows, d, dtype):
    lead, n_in, n_out = 16, 5, 3
    h = torch.zeros(lead + rows + 5 * lead, n_in)
    h[lead : lead + rows] = torch.randn(rows, n_in)
    taps = torch.randn(3, n_out, n_in)
    n_tiles = tiles_of(rows, d).shape[1]
    values = Buffer(torch.full((6, n_tiles, n_in), float("nan"), dtype=dtype))
    kernels.values_at_points(h.numpy(), values.array, 0, d, lead)
    algorithm = toom_cook(4, 3, kernels.POINTS)
    points = torch.einsum("kj,joc->kco", torch.tensor(algorithm.taps).float(), taps)
    found = torch.einsum("ik,kro->iro", torch.tensor(algorithm.outputs).float(), values.tensor.float() @ points)
    expected = F.conv1d(h.T[None], taps.permute(1, 2, 0), padding=d, dilation=d)[0].T[lead:]
    inside = tiles_of(rows, d) < rows
    error = (found[inside] - expected[tiles_of(rows, d)[inside]]).abs().max()
    assert error < 30 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "d", "n_positions"), [(1, 1, 1), (37, 1, 1), (37, 4, 3), (64, 16, 32), (5, 128, 2)])
@pytest.mark.parametrize("n_channels", [3, 48])
def test_the_gate_is_tanh_times_sigmoid_of_products_and_conditioning(rows, d, n_positions, n_channels, dtype):
    where = tiles_of(rows, d)
    first = where.shape[1] // 3
    where = where[:, first:].clamp(max=rows - 1)
    products = Buffer(3 * torch.randn(6, where.shape[1], 2 * n_channels).to(dtype))
    told = Buffer(torch.randn(rows, 2 * n_channels).to(dtype))
    bias = torch.randn(n_positions, 2 * n_channels)
    out = Buffer(torch.full((4, where.shape[1], n_channels), float("nan"), dtype=dtype))
    kernels.gate(products.array, told.array, bias.numpy(), out.array, first, d)
    outputs = torch.tensor(toom_cook(4, 3, kernels.POINTS).outputs)
    units = torch.einsum("ik,krc->irc", outputs, products.tensor.double())
    units = units + told.tensor.double()[where] + bias.double()[where % n_positions]
    a, b = units.chunk(2, dim=2)
    torch.testing.assert_close(
        out.tensor.double(), torch.tanh(a) * torch.sigmoid(b), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_the_gate_is_flat_far_out_and_never_overflows():
    units = torch.tensor([-1e30, -200.0, -50.0, 50.0, 200.0, 1e30])
    a, b = torch.meshgrid(units, units, indexing="ij")
    products = torch.zeros(6, 1, 72)
    products[0] = torch.cat([a.flatten(), b.flatten()])
    out = torch.full((4, 1, 36), float("nan"))
    kernels.gate(products.numpy(), np.zeros((4, 72), np.float32), np.zeros((1, 72), np.float32), out.numpy(), 0, 1)
    expected = torch.tanh(a.flatten()) * torch.sigmoid(b.flatten())
    torch.testing.assert_close(out[0, 0], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "d"), [(1, 1), (37, 1), (37, 4), (5, 128)])
@pytest.mark.parametrize("n_channels", [0, 6])
def test_residual_and_output_are_added_where_they_belong(rows, d, n_channels, dtype):
    lead, n_out, n_spare = 128, 4, 2
    where = tiles_of(rows, d)
    h = torch.randn(lead + rows + 5 * lead, 6)
    mixed = Buffer(torch.randn(4, where.shape[1], n_channels + n_out + n_spare).to(dtype))
    bias, y = torch.randn(n_channels), torch.randn(rows, n_out)
    inside = torch.rand(rows) < 0.7
    h_next, before = torch.full_like(h, float("nan")), y.clone()
    kernels.add_after(
        h.numpy(), mixed.array, bias.numpy(), inside.to(torch.uint8).numpy(), h_next.numpy(), y.numpy(), 0, d, lead
    )
    by_row = torch.zeros(4 * where.shape[1] * 2, mixed.tensor.shape[2])
    by_row[where.flatten()] = mixed.tensor.float().flatten(0, 1)
    by_row = by_row[:rows]
    torch.testing.assert_close(y, before + by_row[:, n_channels : n_channels + n_out])
    if n_channels:
        expected = (h[lead : lead + rows] + by_row[:, :n_channels] + bias) * inside[:, None]
        torch.testing.assert_close(h_next[lead : lead + rows], expected)
    assert h_next[:lead].isnan().all()
    assert h_next[lead + rows :].isnan().all()


@pytest.mark.parametrize("bound", [0.0, 2.0])
@pytest.mark.parametrize("changes", [0, 5])
def test_uncoupling_undoes_the_affine_map(bound, changes):
    x, y = torch.randn(7, 10), 2 * torch.randn(7, 10)
    t, log_s = y.clone().chunk(2, dim=1)
    log_s = bound * torch.tanh(log_s / bound) if bound else log_s
    expected = x.clone()
    expected[:, changes : changes + 5] = (expected[:, changes : changes + 5] - t) * torch.exp(-log_s)
    kernels.uncouple(x.numpy(), y.numpy(), changes, 5, np.float32(bound))
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_rounded_as_pytorch_rounds():
    h = torch.randn(1 + 4 + 5, 1000) * torch.logspace(-30, 30, 1000)
    values = Buffer(torch.empty(6, 1, 1000, dtype=torch.bfloat16))
    h[[0, 2, 4]] = torch.tensor([0.0, 0.0, 1.0])[:, None] * h[[0, 2, 4]]
    kernels.values_at_points(h.numpy(), values.array, 0, 1, 1)
    assert torch.equal(values.tensor[0, 0], h[4].bfloat16())


def test_where_nothing_can_be_written_each_process_compiles_for_itself(monkeypatch):
    def refuse(self):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", refuse)
    assert kernels.compiled(lambda x: x + 1)(2) == 3
