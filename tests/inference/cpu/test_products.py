import numpy as np
import pytest
import torch

from waveflow.inference.cpu import kernels
from waveflow.inference.cpu.code import LANES
from waveflow.inference.cpu.gate import gate_tile
from waveflow.inference.cpu.kernels import as_array
from waveflow.inference.cpu.products import PANEL, ROWS, VECTORS, pack, packed_size, product
from waveflow.inference.cpu.toom_cook import toom_cook
from waveflow.ops.processor import bfloat16_products

HALF = pytest.param(
    torch.bfloat16, marks=pytest.mark.skipif(not bfloat16_products(), reason="this processor multiplies no bfloat16")
)
DTYPES = [torch.float32, HALF]


@kernels.compiled
def gate_of_all_tiles(products, plane, told, out, n_tiles, stride):
    for r in range(n_tiles):
        t = 4 * r * PANEL
        gate_tile(
            products, r * PANEL, plane, told, t, t + PANEL, t + 2 * PANEL, t + 3 * PANEL, out, r * (PANEL // 2), stride
        )


def multiplied(a, weight, bias, init, order, column, dtype, out_dtype=torch.float32):
    """Rows of `a` times the weight, laid out in the given order; NaN where nothing was written."""
    n_rows, k = a.shape
    n_columns = weight.shape[1] + -weight.shape[1] % LANES
    width = column + n_columns
    operands = torch.full((n_rows + ROWS, k), float("nan"), dtype=dtype)
    operands[:n_rows] = a
    spare = n_rows * width
    rows = np.array([*(i * width for i in order), *[spare] * ROWS])
    out = torch.full(((n_rows + 1) * width,), float("nan"), dtype=out_dtype)
    carried = init is not None
    begun = torch.zeros(n_rows + 1, width)
    if carried:
        begun[:n_rows, column:] = init[:, :n_columns]
    flat_bias = torch.cat([torch.full((3,), float("nan")), torch.nn.functional.pad(bias, (0, n_columns - len(bias)))])
    packed = torch.cat([torch.full((5,), float("nan"), dtype=dtype), pack(weight, dtype)])
    assert len(packed) == 5 + packed_size(*weight.shape)
    product(
        as_array(operands.flatten()), 0, k, as_array(packed), 5, k, n_columns, flat_bias.numpy(), 3, carried,
        begun.flatten().numpy(), as_array(out), rows, 0, n_rows, column,
    )  # fmt: skip
    return out.view(n_rows + 1, width)[:n_rows]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_rows", [1, ROWS, 2 * ROWS + 1])
@pytest.mark.parametrize("n_vectors", range(1, 2 * VECTORS + 1))
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("k", [10, 3])
def test_a_product_is_rows_times_weights_from_what_it_begins_with(dtype, n_rows, n_vectors, carried, k):
    if k % 2 and dtype == torch.bfloat16:
        pytest.skip("bfloat16 operands come in pairs")
    column = LANES
    n_columns = n_vectors * LANES - 3
    a, weight, bias = torch.randn(n_rows, k), torch.randn(k, n_columns), torch.randn(n_columns)
    init = torch.randn(n_rows, n_vectors * LANES) if carried else None
    order = torch.randperm(n_rows).tolist()
    found = multiplied(a, weight, bias, init, order, column, dtype)
    expected = a.to(dtype).double() @ weight.to(dtype).double() + bias
    assert found[:, :column].isnan().all()
    found = found[order, column : column + n_columns]
    if carried:
        expected = expected + init[order, :n_columns]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not bfloat16_products(), reason="this processor multiplies no bfloat16")
def test_a_product_in_bfloat16_is_rounded_as_pytorch_rounds():
    a, weight = torch.randn(ROWS, 2), torch.randn(2, PANEL)
    order = range(ROWS)
    exact = multiplied(a, weight, torch.zeros(PANEL), None, order, 0, torch.bfloat16)
    rounded = multiplied(a, weight, torch.zeros(PANEL), None, order, 0, torch.bfloat16, torch.bfloat16)
    assert torch.equal(rounded, exact.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("told_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_gate_of_a_tile_is_tanh_times_sigmoid_of_products_and_conditioning(dtype, told_dtype):
    n_tiles, half = 5, PANEL // 2
    products = 3 * torch.randn(6, n_tiles, PANEL)
    told = torch.randn(n_tiles, 4, PANEL).to(told_dtype)
    out = torch.full((4, n_tiles, half), float("nan"), dtype=dtype)
    gate_of_all_tiles(
        products.flatten().numpy(), n_tiles * PANEL, as_array(told.flatten()), as_array(out.view(-1)), n_tiles,
        n_tiles * half,
    )  # fmt: skip
    outputs = torch.tensor(toom_cook(4, 3, kernels.POINTS).outputs)
    units = torch.einsum("ik,krc->irc", outputs, products.double()) + told.double().transpose(0, 1)
    a, b = units.split(half, dim=2)
    tolerance = 3e-6 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(out.double(), torch.tanh(a) * torch.sigmoid(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_gate_of_a_tile_is_flat_far_out_and_never_overflows(dtype):
    far = torch.tensor([-1e30, -200.0, -50.0, 50.0, 200.0, 1e30])
    a, b = torch.meshgrid(far, far, indexing="ij")
    n_tiles, half = 36, PANEL // 2
    products = torch.zeros(6, n_tiles, PANEL)
    products[0, :, :half], products[0, :, half:] = a.reshape(-1, 1), b.reshape(-1, 1)
    out = torch.full((4, n_tiles, half), float("nan"), dtype=dtype)
    told = np.zeros(n_tiles * 4 * PANEL, np.float32)
    gate_of_all_tiles(
        products.flatten().numpy(), n_tiles * PANEL, told, as_array(out.view(-1)), n_tiles, n_tiles * half
    )
    expected = (torch.tanh(a) * torch.sigmoid(b)).reshape(-1, 1).expand(-1, half)
    torch.testing.assert_close(out[0].float(), expected, rtol=4e-3 if dtype == torch.bfloat16 else 1e-6, atol=1e-12)
