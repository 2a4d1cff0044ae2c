"""Functions written in LLVM's language, over vectors as wide as the processor's."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir

_FEATURES = binding.get_host_cpu_features()
# Numbers in a vector.
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4

_I16, _I32, _I64, _FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_I32, LANES)


class BFloat(ir.Type):
    """LLVM's own bfloat16, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


class Code:
    """One function of a module, written by `emit` unless it is there already.

    It is never inlined: it does much, and its callers are many.

    Args:
        module: Where to write it.
        name: Its name; another body needs another name.
        taken: Its arguments' names and types.

    Attributes:
        function: What to call.
        taken: Its arguments.
    """

    def __init__(self, module: ir.Module, name: str, taken: dict[str, ir.Type]) -> None:
        found = module.globals.get(name)
        self.function = found or ir.Function(module, ir.FunctionType(ir.VoidType(), taken.values()), name)
        self.taken = dict(zip(taken, self.function.args))
        if found is None:
            self.function.linkage = "linkonce_odr"
            self.function.attributes.add("noinline")
            self.builder = ir.IRBuilder(self.function.append_basic_block())
            self.emit()
            self.builder.ret_void()

    def emit(self) -> None:
        """Write the body."""
        raise TypeError(f"{type(self).__name__} does not define emit")

    def plus(self, x: Any, n: int) -> Any:
        return self.builder.add(x, ir.Constant(_I64, n))

    def times(self, x: Any, n: int) -> Any:
        return self.builder.mul(x, ir.Constant(_I64, n))

    def constant(self, x: float) -> ir.Constant:
        """The same number in all lanes."""
        return ir.Constant(VECTOR, [x] * LANES)

    def either(self, *incoming: tuple[Any, Any]) -> Any:
        """The value from whichever block control came."""
        phi = self.builder.phi(incoming[0][0].type)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def declared(self, name: str, kind: ir.FunctionType) -> ir.Function:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, kind, name)

    def call(self, name: str, *args: Any) -> Any:
        """One of LLVM's own functions of vectors."""
        function = self.declared(f"llvm.{name}.v{LANES}f32", ir.FunctionType(VECTOR, [VECTOR] * len(args)))
        return self.builder.call(function, args)

    def load(self, pointer: Any, offset: Any, kind: ir.Type, align: int) -> Any:
        """What stands at an offset, an integer or a value."""
        offset = ir.Constant(_I64, offset) if isinstance(offset, int) else offset
        found = self.builder.load(self.builder.bitcast(self.builder.gep(pointer, [offset]), kind.as_pointer()))
        found.align = align
        return found

    def widened(self, pointer: Any, offset: Any) -> Any:
        """A vector of bfloat16, given by their bits, in float32."""
        words = self.builder.zext(self.load(pointer, offset, ir.VectorType(_I16, LANES), 2), WORDS)
        return self.builder.bitcast(self.builder.shl(words, self.word(16)), VECTOR)

    def store(self, value: Any, pointer: Any, offset: Any, half: bool) -> None:
        """Store a vector of float32, or rounded to bfloat16: to the nearest, ties to even."""
        builder = self.builder
        if half:
            bits = builder.bitcast(value, WORDS)
            odd = builder.and_(builder.lshr(bits, self.word(16)), self.word(1))
            rounded = builder.lshr(builder.add(builder.add(bits, self.word(0x7FFF)), odd), self.word(16))
            value = builder.trunc(rounded, ir.VectorType(_I16, LANES))
        place = builder.bitcast(builder.gep(pointer, [offset]), value.type.as_pointer())
        builder.store(value, place).align = 2 if half else 4

    def word(self, x: int) -> ir.Constant:
        return ir.Constant(WORDS, [x] * LANES)
