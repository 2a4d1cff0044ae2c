"""Matrix products of a CPU for few rows and weights that stay: one compiled loop over tiles that live in registers.

A library packs the weights anew in every call and knows nothing of what comes after. Here the weights are packed once,
`pack`, and what a product starts from and where its rows go is the caller's. Operands are float32, or bfloat16 as the
uint16 numbers that hold its bits; sums are float32, and a row's run in one order, wherever in a tile it lies.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from llvmlite import binding, ir
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

from waveflow.inference.cpu.code import LANES, VECTOR, WORDS, BFloat, Code
from waveflow.inference.cpu.kernels import compiled

# Vectors in a panel of columns and rows of a tile: as many sums as the registers hold.
VECTORS = 2 if LANES == 8 else 4
ROWS = 6
PANEL = LANES * VECTORS

_I16, _I32, _I64, _FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def pack(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay `(K, N)` out for `product`: panels of columns, in each its rows one after another, flat.

    bfloat16 rows come in pairs, column by column. Rows are filled up with zeros to a pair, columns to whole vectors.
    """
    weight = F.pad(weight, (0, -weight.shape[1] % LANES, 0, -weight.shape[0] % 2)).to(dtype)
    pairs = 2 if dtype == torch.bfloat16 else 1
    panels = weight.split(PANEL, dim=1)
    return torch.cat([panel.unflatten(0, (-1, pairs)).transpose(1, 2).flatten() for panel in panels])


def packed_size(k: int, n: int) -> int:
    """Numbers that `pack` makes of a `(K, N)`."""
    return (k + k % 2) * (n + -n % LANES)


def _tile(n_vectors: int) -> Any:
    """The product of `ROWS` rows and `n_vectors` vectors of columns, in registers from first to last."""

    @intrinsic
    def tile(_, a, a_0, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, r_0, column):  # noqa: ANN001, ANN202
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def at(array: int, index: int | None = None) -> Any:
                data = context.make_array(signature.args[array])(context, builder, args[array]).data
                return data if index is None else builder.gep(data, [args[index]])

            taken = [at(0, 1), args[2], at(3, 4), args[5], at(6, 7), args[8], at(9), at(10), at(11, 12), args[13]]
            half, half_out = signature.args[0].dtype == types.uint16, signature.args[10].dtype == types.uint16
            builder.call(_TileCode(builder.module, n_vectors, half, half_out).function, taken)
            return context.get_dummy_value()

        return types.void(a, a_0, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, r_0, column), generate

    return tile


class _TileCode(Code):
    """Writes one tile's product in LLVM's language, as a function that all its callers share."""

    def __init__(self, module: ir.Module, n_vectors: int, half: bool, half_out: bool) -> None:
        operand, result = _I16 if half else _FLOAT, _I16 if half_out else _FLOAT
        taken = {
            "a": operand.as_pointer(),
            "stride": _I64,
            "b": operand.as_pointer(),
            "k": _I64,
            "bias": _FLOAT.as_pointer(),
            "carried": ir.IntType(1),
            "init": _FLOAT.as_pointer(),
            "out": result.as_pointer(),
            "rows": _I64.as_pointer(),
            "column": _I64,
        }
        self.n_vectors, self.half, self.half_out = n_vectors, half, half_out
        super().__init__(module, f"waveflow_tile_{n_vectors}_{half:d}_{half_out:d}", taken)

    def emit(self) -> None:
        rows = [self.load(self.taken["rows"], i, _I64, 8) for i in range(ROWS)]
        rows = [self.builder.add(row, self.taken["column"]) for row in rows]
        places = [self.plus(row, LANES * j) for row in rows for j in range(self.n_vectors)]
        for total, place in zip(self.multiplied(self.begun(places)), places):
            self.store(total, self.taken["out"], place, self.half_out)

    def begun(self, places: list[Any]) -> list[Any]:
        """What the sums begin with: the bias, and where it is asked for what already stands there."""
        builder, entry = self.builder, self.builder.block
        bias = [self.load(self.taken["bias"], LANES * j, VECTOR, 4) for j in range(self.n_vectors)]
        carried, begin = builder.append_basic_block("carried"), builder.append_basic_block("begin")
        builder.cbranch(self.taken["carried"], carried, begin)
        builder.position_at_end(carried)
        held = [
            builder.fadd(bias[i % self.n_vectors], self.load(self.taken["init"], place, VECTOR, 4))
            for i, place in enumerate(places)
        ]
        builder.branch(begin)
        builder.position_at_end(begin)
        return [self.either((bias[i % self.n_vectors], entry), (old, carried)) for i, old in enumerate(held)]

    def multiplied(self, sums: list[Any]) -> list[Any]:
        """The sums after a loop over k, two at a time where operands are bfloat16."""
        builder, step = self.builder, 2 if self.half else 1
        before, body, after = builder.block, builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        i = self.either((ir.Constant(_I64, 0), before))
        state = [self.either((start, before)) for start in sums]
        kind = ir.VectorType(_I16, 2 * LANES) if self.half else VECTOR
        at = builder.mul(i, ir.Constant(_I64, LANES * self.n_vectors))
        weights = [self.load(self.taken["b"], self.plus(at, step * LANES * j), kind, 2) for j in range(self.n_vectors)]
        results = []
        for row in range(ROWS):
            x = self.splat(builder.add(i, builder.mul(self.taken["stride"], ir.Constant(_I64, row))))
            for j in range(self.n_vectors):
                results.append(self.dot(state[row * self.n_vectors + j], x, weights[j]))
        following = self.plus(i, step)
        for phi, result in zip([i, *state], [following, *results]):
            phi.add_incoming(result, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, self.taken["k"]), body, after)
        builder.position_at_end(after)
        return results

    def splat(self, place: Any) -> Any:
        """A number, or a pair of bfloat16, in all lanes."""
        kind = _I32 if self.half else _FLOAT
        x, vector = self.load(self.taken["a"], place, kind, 2 if self.half else 4), ir.VectorType(kind, LANES)
        nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), None)
        return self.builder.shuffle_vector(
            self.builder.insert_element(nothing, x, ir.Constant(_I32, 0)), nothing, first
        )

    def dot(self, total: Any, x: Any, weight: Any) -> Any:
        """The total and x times weight; of pairs, both products."""
        if not self.half:
            return self.call("fma", x, weight, total)
        # LLVM took pairs as 32-bit numbers before it had bfloat16.
        pairs = ir.VectorType(BFloat(), 2 * LANES) if binding.llvm_version_info[0] >= 16 else WORDS
        takes = ir.FunctionType(VECTOR, [VECTOR, pairs, pairs])
        dot = self.declared("llvm.x86.avx512bf16.dpbf16ps.512", takes)
        return self.builder.call(dot, [total, *(self.builder.bitcast(y, pairs) for y in (x, weight))])


_tile_1, _tile_2, _tile_3, _tile_4 = map(_tile, (1, 2, 3, 4))


@partial(compiled, fastmath=False)
def product(a, a_0, stride, b, b_0, k, n_columns, bias, bias_0, carried, init, out, rows, r_0, n_rows, column):  # noqa: ANN001, ANN201
    """`out[rows[r_0 + i] + column + j] = bias[j] + init[...] + sum_k a[a_0 + i stride + k] b[k, j]`, flat arrays all.

    a: Operands; so many rows that whole tiles can be read.
    b: What `pack` made, from `b_0` on.
    k: Even where operands are bfloat16.
    n_columns: A multiple of `LANES`.
    bias: float32, from `bias_0` on.
    carried: Whether to begin with what stands in `init`, float32, in the same places.
    out: float32 or as the operands.
    rows: int64, where rows begin in `out`; whole tiles are written.
    """
    for done in range(0, n_columns, PANEL):
        n_vectors = min(VECTORS, (n_columns - done) // LANES)
        for r in range(0, n_rows, ROWS):
            x, first = a_0 + r * stride, r_0 + r
            if n_vectors == 4:
                _tile_4(a, x, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, first, column)
            elif n_vectors == 3:
                _tile_3(a, x, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, first, column)
            elif n_vectors == 2:
                _tile_2(a, x, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, first, column)
            else:
                _tile_1(a, x, stride, b, b_0, k, bias, bias_0, carried, init, out, rows, first, column)
        # Rows of a panel are filled up to a pair.
        b_0 += (k + k % 2) * PANEL
        bias_0 += PANEL
        column += PANEL
