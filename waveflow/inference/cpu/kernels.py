"""What stands between the matrix products of a WaveNet on a CPU, one pass each, over rows of channels.

Numba compiles these once a machine. They take float32, or bfloat16 as the uint16 numbers that hold its bits, compute
in float32, and let other threads run.

Convolutions of three taps are done four outputs at a time, as the products of two polynomials by their values at six
points (Toom and Cook; Winograd; for networks Lavin and Gray, arXiv:1509.09308): six matrix products instead of twelve.
A tile of dilation `d` is the rows `t, t + d, t + 2d, t + 3d`; tile `u` starts at row `u // d * 4d + u % d`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

# Points 0, +-2/3, +-3/2 and infinity lose least in bfloat16 of those that share their even and odd parts.
POINTS = (0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
A, B = np.float32(2 / 3), np.float32(3 / 2)
A2, B2, A3, B3 = A * A, B * B, A * A * A, B * B * B
AA_BB = np.float32(4 / 9 + 9 / 4)

ONE, HALF = np.float32(1), np.float32(0.5)
LOG2_E = np.float32(1.4426950408889634)


def compiled(function: Any, *, fastmath: bool = True) -> Any:
    """Compile for this processor, and keep the result beside the source, or where the user's caches are."""
    dispatcher = njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)
    # Numba refuses where it may write to neither: then every process compiles.
    with suppress(RuntimeError):
        dispatcher.enable_caching()
    return dispatcher


def inlined(function: Any) -> Any:
    """Make a function a part of whatever compiled function calls it."""
    return njit(inline="always", fastmath=True, error_model="numpy")(function)


@intrinsic
def widen(_: Any, x: types.Type) -> Any:
    """float32 of a stored number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if signature.args[0] == types.float32:
            return args[0]
        word = builder.shl(builder.zext(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(word, ir.FloatType())

    return types.float32(x), generate


@intrinsic
def narrow(_: Any, x: types.Type, like: types.Array) -> Any:
    """float32 as it is stored in an array like another: rounded to the nearest, ties to even."""
    stored = like.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if stored == types.float32:
            return args[0]
        word = ir.IntType(32)
        bits = builder.bitcast(args[0], word)
        odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, ir.Constant(word, 16)), ir.IntType(16))

    return stored(types.float32, like), generate


@intrinsic
def _float_of_bits(_: Any, x: types.Type) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@inlined
def _exp2(x):  # noqa: ANN001, ANN202
    # 2^x for |x| <= 126, to 2e-7: a polynomial on [-1/2, 1/2] times a power of two put together from bits.
    whole = np.floor(x + HALF)
    f = x - whole
    p = np.float32(1.5403530e-4)
    p = p * f + np.float32(1.33335581e-3)
    p = p * f + np.float32(9.61812911e-3)
    p = p * f + np.float32(5.55041087e-2)
    p = p * f + np.float32(2.40226507e-1)
    p = p * f + np.float32(6.93147181e-1)
    p = p * f + ONE
    return p * _float_of_bits((np.int32(whole) + np.int32(127)) << np.int32(23))


@inlined
def _exp(x):  # noqa: ANN001, ANN202
    return _exp2(min(max(x * LOG2_E, np.float32(-126)), np.float32(126)))


@inlined
def _gate(a, b):  # noqa: ANN001, ANN202
    # tanh(a) sigmoid(b) by one division; beyond +-60 powers of two both are flat, and their product must not overflow.
    limit = np.float32(60)
    u = _exp2(min(max(a * (np.float32(-2) * LOG2_E), -limit), limit))
    v = _exp2(min(max(b * -LOG2_E, -limit), limit))
    return (ONE - u) / ((ONE + u) * (ONE + v))


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor's memory as the kernels take it."""
    half = tensor.dtype == torch.bfloat16
    return tensor.view(torch.int16).numpy().view(np.uint16) if half else tensor.numpy()


@compiled
def values_at_points(h, out, first, d, lead):  # noqa: ANN001, ANN201
    """The inputs of tiles `first` to `first + R - 1` at the six points.

    h: float32 `(lead + rows, C)`, of which the first `lead` rows lie before row 0.
    out: `(6, R, C)`.
    """
    n_channels = h.shape[1]
    for r in range(out.shape[1]):
        u = first + r
        row = lead - d + u // d * (4 * d) + u % d
        for k in range(n_channels):
            h0, h1, h2 = h[row, k], h[row + d, k], h[row + 2 * d, k]
            h3, h4, h5 = h[row + 3 * d, k], h[row + 4 * d, k], h[row + 5 * d, k]
            even_a, odd_a = h4 - B2 * h2, A * (h3 - B2 * h1)
            even_b, odd_b = h4 - A2 * h2, B * (h3 - A2 * h1)
            out[0, r, k] = narrow(h4 - AA_BB * h2 + h0, out)
            out[1, r, k] = narrow(even_a + odd_a, out)
            out[2, r, k] = narrow(even_a - odd_a, out)
            out[3, r, k] = narrow(even_b + odd_b, out)
            out[4, r, k] = narrow(even_b - odd_b, out)
            out[5, r, k] = narrow(h5 - AA_BB * h3 + h1, out)


@inlined
def _gated(products, units, out, r):  # noqa: ANN001, ANN202
    # In passes over a few arrays each, which the compiler can prove apart and so put into vectors.
    n_channels = out.shape[2]
    for k in range(2 * n_channels):
        plus, minus = widen(products[1, r, k]), widen(products[2, r, k])
        sum_a, dif_a = plus + minus, plus - minus
        plus, minus = widen(products[3, r, k]), widen(products[4, r, k])
        sum_b, dif_b = plus + minus, plus - minus
        units[0, k] += widen(products[0, r, k]) + sum_a + sum_b
        units[1, k] += A * dif_a + B * dif_b
        units[2, k] += A2 * sum_a + B2 * sum_b
        units[3, k] += A3 * dif_a + B3 * dif_b + widen(products[5, r, k])
    for i in range(4):
        for k in range(n_channels):
            out[i, r, k] = narrow(_gate(units[i, k], units[i, k + n_channels]), out)


@compiled
def gate(products, told, bias, out, first, d):  # noqa: ANN001, ANN201
    """The gated units of tiles `first` to `first + R - 1`.

    products: Inputs times taps at the six points, `(6, R, 2C)`.
    told: What the mel says, `(rows, 2C)`.
    bias: float32 `(P, 2C)`.
    out: `(4, R, C)`, in which row `i` of a tile is at `[i, r]`.
    """
    n_channels, last, n_positions = out.shape[2], np.uint64(told.shape[0] - 1), np.uint64(bias.shape[0])
    units = np.empty((4, 2 * n_channels), np.float32)
    for r in range(out.shape[1]):
        u = first + r
        for i in range(4):
            # Rows past the end are made of the last one's conditioning; nobody reads them.
            t = min(np.uint64(u // d * (4 * d) + u % d + i * d), last)
            p = t % n_positions
            for k in range(2 * n_channels):
                units[i, k] = widen(told[t, k]) + bias[p, k]
        _gated(products, units, out, r)


@compiled
def add_after(h, mixed, bias, inside, h_next, y, first, d, lead):  # noqa: ANN001, ANN201
    """Residual and output of tiles `first` to `first + R - 1`.

    h: float32 `(lead + rows, C)`.
    mixed: `(4, R, C + N)` or wider.
    bias: float32 `(C,)`; C is 0 in the last layer, which has no residual.
    inside: uint8 `(rows,)`, 0 where a row belongs to no item and stays zero.
    h_next: As h, another array.
    y: float32 `(rows, N)`, added to.
    """
    n_rows, n_out = y.shape
    n_channels = bias.shape[0]
    for r in range(mixed.shape[1]):
        u = first + r
        for i in range(4):
            t = u // d * (4 * d) + u % d + i * d
            if t >= n_rows:
                continue
            for k in range(n_out):
                y[t, k] += widen(mixed[i, r, n_channels + k])
            if inside[t]:
                for k in range(n_channels):
                    h_next[lead + t, k] = h[lead + t, k] + widen(mixed[i, r, k]) + bias[k]
            else:
                for k in range(n_channels):
                    h_next[lead + t, k] = 0


@compiled
def uncouple(x, y, changes, half, bound):  # noqa: ANN001, ANN201
    """Undo affine couplings in place, `x_b <- (x_b - t) exp(-log_s)`.

    x: float32 `(rows, N)` or wider, of which `half` columns from `changes` on are x_b.
    y: float32 `(rows, N)` or wider, t and then raw log_s; overwritten.
    half: N / 2.
    bound: Of log_s, float32, 0 for none.
    """
    for row in range(x.shape[0]):
        x_b, t, log_s = x[row, changes : changes + half], y[row, :half], y[row, half : 2 * half]
        if bound > 0:
            for k in range(half):
                u = _exp(log_s[k] * (np.float32(-2) / bound))
                log_s[k] = bound * (ONE - u) / (ONE + u)
        for k in range(half):
            x_b[k] = (x_b[k] - t[k]) * _exp(-log_s[k])


@compiled
def shed_gain(x, log_gain, n_bands):  # noqa: ANN001, ANN201
    """`x <- x exp(-log_gain)` in the first `n_bands` columns of float32 rows."""
    for row in range(x.shape[0]):
        bands, logs = x[row, :n_bands], log_gain[row, :n_bands]
        for k in range(n_bands):
            bands[k] *= _exp(-logs[k])


@compiled
def philox(first, key, out):  # noqa: ANN001, ANN201
    """As `waveflow.ops.keyed_normal.reference.philox`, of the counters `first` to `first + N - 1`.

    first: uint64.
    key: uint64, the seed.
    out: int64 `(4, N)`.
    """
    word, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(out.shape[1]):
        counter = first + np.uint64(i)
        c0, c1, c2, c3 = counter & word, counter >> shift, np.uint64(0), np.uint64(0)
        k0, k1 = key & word, key >> shift
        for _ in range(10):
            p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & word, (p0 >> shift) ^ c3 ^ k1, p0 & word
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & word, (k1 + np.uint64(0xBB67AE85)) & word
        out[0, i], out[1, i], out[2, i], out[3, i] = c0, c1, c2, c3
