"""The gate of a WaveNet's layer on a CPU, a tile of four rows at a time, in vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from waveflow.inference.cpu.code import LANES, VECTOR, WORDS, Code
from waveflow.inference.cpu.kernels import A2, A3, B2, B3, A, B
from waveflow.inference.cpu.products import VECTORS

_I64 = ir.IntType(64)


def _powers_of_two(degree: int) -> list[float]:
    """A polynomial for 2^x on [-1/2, 1/2], the constant first."""
    fitted = np.polynomial.chebyshev.Chebyshev.interpolate(np.exp2, degree, [-0.5, 0.5])
    return fitted.convert(kind=np.polynomial.Polynomial).coef.tolist()


# Off by 2e-8 and 2e-6 of the value: rounding to bfloat16 is off by a thousand times as much.
EXP2, EXP2_HALF = _powers_of_two(6), _powers_of_two(4)
LIMIT = 60.0


@intrinsic
def gate_tile(_, products, at, plane, told, t_0, t_1, t_2, t_3, out, out_at, out_stride):  # noqa: ANN001, ANN201
    """`tanh(a) sigmoid(b)` of a panel of four rows: in its first half of columns are the a's, in its second the b's.

    products: float32, inputs times taps at the six points, from `at` on, points `plane` apart.
    told: What the mel says, float32 or operands, of the four rows from `t_0` ... `t_3` on.
    out: Operands, half a panel for each row, from `out_at` on, rows `out_stride` apart.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def at(array: int, index: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.gep(data, [args[index]])

        taken = [at(0, 1), args[2], at(3, 4), at(3, 5), at(3, 6), at(3, 7), at(8, 9), args[10]]
        half_told, half = signature.args[3].dtype == types.uint16, signature.args[8].dtype == types.uint16
        builder.call(_GateCode(builder.module, half_told, half).function, taken)
        return context.get_dummy_value()

    return types.void(products, at, plane, told, t_0, t_1, t_2, t_3, out, out_at, out_stride), generate


class _GateCode(Code):
    """Writes the gate of one tile's panel."""

    def __init__(self, module: ir.Module, half_told: bool, half: bool) -> None:
        told, out = (ir.IntType(16) if h else ir.FloatType() for h in (half_told, half))
        taken = {"products": ir.FloatType().as_pointer(), "plane": _I64}
        taken |= {f"told_{i}": told.as_pointer() for i in range(4)}
        self.half_told, self.half = half_told, half
        super().__init__(
            module, f"waveflow_gate_{half_told:d}_{half:d}", taken | {"out": out.as_pointer(), "stride": _I64}
        )

    def emit(self) -> None:
        n = VECTORS // 2
        for v in range(n):
            units = [self.units(LANES * (v + side * n)) for side in (0, 1)]
            for i, (a, b) in enumerate(zip(*units)):
                place = self.plus(self.times(self.taken["stride"], i), LANES * v)
                self.store(self.gated(a, b), self.taken["out"], place, self.half)

    def units(self, column: int) -> list[Any]:
        """A vector of what goes into the gate, of each row."""
        fadd, fsub, products = self.builder.fadd, self.builder.fsub, self.taken["products"]
        values = [
            self.load(products, self.plus(self.times(self.taken["plane"], q), column), VECTOR, 4) for q in range(6)
        ]
        sum_a, dif_a, sum_b, dif_b = (f(*pair) for pair in (values[1:3], values[3:5]) for f in (fadd, fsub))
        told = [self.told(i, column) for i in range(4)]
        return [
            fadd(fadd(told[0], values[0]), fadd(sum_a, sum_b)),
            self.fma(dif_b, B, self.fma(dif_a, A, told[1])),
            self.fma(sum_b, B2, self.fma(sum_a, A2, told[2])),
            fadd(self.fma(dif_b, B3, self.fma(dif_a, A3, told[3])), values[5]),
        ]

    def told(self, row: int, column: int) -> Any:
        pointer, place = self.taken[f"told_{row}"], ir.Constant(_I64, column)
        return self.widened(pointer, place) if self.half_told else self.load(pointer, place, VECTOR, 4)

    def gated(self, a: Any, b: Any) -> Any:
        # By one division; beyond the limit both are flat, and their product must not overflow.
        fadd, one = self.builder.fadd, self.constant(1.0)
        u, v = self.exp2(a, -2 / np.log(2)), self.exp2(b, -1 / np.log(2))
        return self.builder.fdiv(self.builder.fsub(one, u), self.builder.fmul(fadd(one, u), fadd(one, v)))

    def exp2(self, x: Any, scale: float) -> Any:
        builder = self.builder
        x = builder.fmul(x, self.constant(scale))
        for limit, side in ((self.constant(-LIMIT), ">"), (self.constant(LIMIT), "<")):
            x = builder.select(builder.fcmp_ordered(side, x, limit), x, limit)
        whole = self.call("rint", x)
        f, (*rest, p) = builder.fsub(x, whole), EXP2_HALF if self.half else EXP2
        p = self.constant(p)
        for coefficient in reversed(rest):
            p = self.call("fma", p, f, self.constant(coefficient))
        # One power of two more is one more in the exponent's bits.
        bits = builder.shl(builder.fptosi(whole, WORDS), self.word(23))
        return builder.bitcast(builder.add(builder.bitcast(p, WORDS), bits), VECTOR)

    def fma(self, x: Any, factor: float | np.float32, y: Any) -> Any:
        return self.call("fma", x, self.constant(float(factor)), y)
