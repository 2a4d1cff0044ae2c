"""Pickles read without executing them: a small machine that builds inert values from the opcodes.

`pickle` calls whatever a file names. Here nothing that a file names is ever imported or called: a global is
a name, which must stand in a short list; an instance of a class becomes a `Record` of its attributes; a
tensor becomes a `StoredTensor`, which says where its numbers lie. What no checkpoint needs is refused by name.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import torch

from waveflow.checkpoints.errors import CheckpointError, damaged
from waveflow.checkpoints.stored import Global, Record, Stateful, Storage, StoredTensor

MAX_PICKLE_BYTES = 64 << 20
MAX_OPCODES = 5_000_000

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Classes of the WaveGlow family, under whichever module they were; torch's own are known by their module.
_CLASSES = {"WaveGlow", "WN", "Invertible1x1Conv", "SqueezeWave", "Upsample1d"}
_MODULES = ("torch.nn.modules.", "torch.nn.parallel.", "torch.nn.utils.weight_norm")
_RECONSTRUCTORS = {"copyreg._reconstructor", "copy_reg._reconstructor"}

# What reading a damaged file can raise, in the parser of opcodes and in the machine.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def read_pickle(
    stream: BinaryIO,
    name: str,
    load_persistent: Callable[[Any], Any] | None = None,
    calls: dict[str, Callable[..., Any]] | None = None,
) -> Any:
    """Read one pickle, up to and including its STOP.

    Args:
        stream: Positioned at the pickle's first byte; give it at most `MAX_PICKLE_BYTES`.
        name: What to call the file in errors.
        load_persistent: Turns a persistent id into a value; without it none is accepted.
        calls: Further globals by name, each with the function of ours that stands for it.

    Raises:
        CheckpointError: The pickle is damaged, too long, or names something that is not in the list.
    """
    machine = _Machine(name, load_persistent, {**_CALLS, **(calls or {})})
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPCODES:
                raise CheckpointError(f"{name} has a pickle of over {MAX_OPCODES} steps; save the model alone")
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise damaged(name, f"its pickle cannot be read ({error})") from error
    return value


class _Machine:
    """The pickle machine's stack and memo, over inert values."""

    def __init__(
        self,
        name: str,
        load_persistent: Callable[[Any], Any] | None,
        calls: dict[str, Callable[..., Any]],
    ) -> None:
        self.name, self.load_persistent, self.calls = name, load_persistent, calls
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _ARGUMENTS:
            self.push(argument)
        elif opcode in _CONSTANTS:
            self.push(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self.push(_EMPTY[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise CheckpointError(f"{self.name} uses the pickle opcode {opcode}, which no checkpoint needs")

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def dict_to_mark(self, _: Any) -> None:
        items = self.to_mark()
        self.push({})
        self.set_items(items)

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def tuple_of(self, n: int) -> None:
        if len(self.stack) < n:
            raise IndexError("a tuple of more values than there are")
        self.stack[-n:] = [tuple(self.stack[-n:])]

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("items for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise TypeError("items for something that is no dictionary")
        self.stack[-1].update(_dict(zip(items[::2], items[1::2], strict=True)))

    def add_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise TypeError("items for something that is no set")
        self.stack[-1].update(map(_key, items))

    def stack_global(self, _: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.push(self.find(f"{module}.{attribute}"))

    def find(self, name: str) -> Global:
        if name in self.calls or name in _RECONSTRUCTORS or name in _NAMES or is_record(name):
            return Global(name)
        raise CheckpointError(
            f"{self.name} asks for {name[:200]!r}, which no checkpoint needs: it may be malicious; nothing was "
            "executed. If you trust it, save the model's state_dict() where it was made, and convert that"
        )

    def new(self, cls: Any) -> Record:
        if not isinstance(cls, Global) or not is_record(cls.name):
            raise TypeError("an instance of something that is no class")
        return Record(cls.name)

    def new_object(self, _: Any) -> None:
        if self.stack.pop() != ():
            raise TypeError("an instance made with arguments")
        self.push(self.new(self.stack.pop()))

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise TypeError("a call of something that is no function")
        if function.name in _RECONSTRUCTORS:
            self.push(self.new(arguments[0]))
        elif function.name in self.calls:
            self.push(self.calls[function.name](*arguments))
        else:
            raise CheckpointError(f"{self.name} calls {function.name!r}, which no checkpoint does")

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Stateful):
            target.set_state(state)
            return
        if type(state) is not dict:
            raise TypeError("a state that is no dictionary")
        if isinstance(target, Record):
            target.state.update(state)
        elif type(target) is not dict:  # attributes of an OrderedDict are no weights
            raise TypeError("a state for something that has none")

    def persistent(self, _: Any) -> None:
        if self.load_persistent is None:
            raise TypeError("a reference to outside where none belongs")
        self.push(self.load_persistent(self.stack.pop()))


def is_record(name: str) -> bool:
    """Whether a global's name is that of a class whose instances become records."""
    module, _, attribute = name.rpartition(".")
    known = attribute in _CLASSES and bool(module)
    return known or (name.startswith(_MODULES) and attribute[:1].isupper())


def _key(key: Any) -> Any:
    # Hashing a tuple of shared tuples can take for ever.
    if key is not None and type(key) not in (str, int, float, bool, bytes):
        raise TypeError("a key that is no plain value")
    return key


def _dict(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in pairs}


def _tensor(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without storage")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *_: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise TypeError("a parameter without tensor")
    return data


def _nothing(*_: Any) -> None:
    """What only a model at work needs: the device of a wrapper, and `Module._backend` of torch before 1.3."""


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _set(items: Iterable[Any] = ()) -> set[Any]:
    return set(map(_key, items))


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "_codecs.encode": _bytes,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,  # torch 0.4
    "torch.device": _nothing,
    "torch.nn.backends.thnn._get_thnn_function_backend": _nothing,
}
_NAMES = {f"{module}.{name}" for module in ("torch", "torch.cuda") for name in DTYPES} | {
    "__builtin__.object",
    "builtins.object",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda m, _: m.to_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": lambda m, index: m.push(m.memo[index]),
    "BINGET": lambda m, index: m.push(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.push(m.memo[index]),
    "TUPLE": lambda m, _: m.push(tuple(m.to_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "LIST": lambda m, _: m.push(m.to_mark()),
    "DICT": _Machine.dict_to_mark,
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.to_mark()),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.to_mark()),
    "ADDITEMS": lambda m, _: m.add_items(m.to_mark()),
    "GLOBAL": lambda m, name: m.push(m.find(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _Machine.stack_global,
    "NEWOBJ": _Machine.new_object,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
