"""WaveFlow's checkpoints of PaddleSpeech: `.pdparams` files, and from their names to ours.

A `.pdparams` is one pickle of a dictionary from names to NumPy arrays, or to pairs of another name and an array.
Its opcodes are followed over inert values, as `unpickle` does; of NumPy only the making of plain arrays is known.

Names there, `k` a flow and `i` a layer of its WaveNet:

    encoder.{0,1}    decoder.k.input_proj    decoder.k.resnet.i.{conv,condition_proj,out_proj}    decoder.k.output_proj

The lengths of weight norm have one dimension. The permutations of the rows are buffers whose names Paddle makes
up; they tell the height of the matrix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import torch
from torch import Tensor

from waveflow.checkpoints.errors import CheckpointError, damaged
from waveflow.checkpoints.l0sg import read_l0sg
from waveflow.checkpoints.stored import Global, Stateful
from waveflow.checkpoints.unpickle import DAMAGE, read_pickle
from waveflow.checkpoints.weights import Found
from waveflow.models.waveflow import row_permutations

MAX_BYTES = 4 << 30
_NAME_TABLE = "StructuredToParameterName@@"
# PaddleSpeech fixes the dilations over the rows by the height: 1, or doubling from 1 in cycles of so many layers.
_LAYERS_PER_CYCLE = {8: 1, 16: 1, 32: 3, 64: 5, 128: 7}
_RENAMED = (
    (r"^encoder\.(\d+)\.", lambda m: f"upsample_conv.{2 * int(m[1])}."),
    (r"^decoder\.(\d+)\.input_proj\.", r"flows.\1.coupling.net.front_conv.0.conv."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.conv\.", r"flows.\1.coupling.net.res_blocks.\2.filter_gate_conv.conv."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.condition_proj\.", r"flows.\1.coupling.net.res_blocks.\2.filter_gate_conv_c."),
    (r"^decoder\.(\d+)\.resnet\.(\d+)\.out_proj\.", r"flows.\1.coupling.net.res_blocks.\2.res_skip_conv."),
    (r"^decoder\.(\d+)\.output_proj\.", r"flows.\1.coupling.proj_log_s_t.conv."),
)
_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


def is_paddle(tensors: dict[str, Tensor]) -> bool:
    """Whether the keys are those of PaddleSpeech's WaveFlow."""
    return "decoder.0.output_proj.weight" in tensors


def read_pdparams(stream: BinaryIO, name: str) -> dict[str, Tensor]:
    """Read a `.pdparams` without executing anything of it.

    Args:
        stream: Positioned anywhere in the open file.
        name: What to call it in errors.

    Raises:
        CheckpointError: It is damaged, over 4 GiB, or holds anything but arrays of numbers by name.
    """
    if stream.seek(0, 2) > MAX_BYTES:
        raise CheckpointError(f"{name} has over {MAX_BYTES} bytes, which no WaveFlow has; save the model alone")
    stream.seek(0)
    root = read_pickle(stream, name, calls=_NUMPY)
    if not isinstance(root, dict):
        raise CheckpointError(f"{name} holds a {type(root).__name__}, expected a dictionary of arrays by name")
    arrays = {key: value[1] if _is_pair(value) else value for key, value in root.items() if key != _NAME_TABLE}
    for key, value in arrays.items():
        if type(key) is not str or not isinstance(value, _Array):
            raise CheckpointError(f"{name} has {str(key)[:200]!r}, which is no array; save the parameters alone")
    try:
        return {key: value.tensor() for key, value in arrays.items()}
    except DAMAGE as error:
        raise damaged(name, error) from error


def read_paddle(tensors: dict[str, Tensor], name: str, *, n_group: int | None = None) -> Found:
    """Understand the state dict of PaddleSpeech's WaveFlow.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.
        n_group: Height of the matrix; that of the permutations in the file unless given, or 16 without them.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, a value is not finite, or
            the rows are permuted in another way than PaddleSpeech's.
    """
    permutations = {
        key: value
        for key, value in tensors.items()
        if re.fullmatch(r"decoder\.[^.]+", key) and value.dim() == 1 and not value.is_floating_point()
    }
    if permutations:
        n_group = _check_permutations([*permutations.values()], n_group, name)
    n_group = 16 if n_group is None else n_group
    if n_group not in _LAYERS_PER_CYCLE:
        raise CheckpointError(f"{name} has n_group={n_group}, PaddleSpeech has models of {[*_LAYERS_PER_CYCLE]}")
    renamed = {_renamed(key): value for key, value in tensors.items() if key not in permutations}
    for key, value in renamed.items():
        if key.endswith("weight_g") and value.dim() == 1:
            renamed[key] = value.view(-1, 1, 1, 1)
    found = read_l0sg(renamed, name, n_group=n_group, n_layers_per_cycle=_LAYERS_PER_CYCLE[n_group])
    found.assumed = () if permutations else ("n_group",)
    return found


def _check_permutations(found: list[Tensor], n_group: int | None, name: str) -> int:
    height = len(found[0])
    if n_group not in (None, height):
        raise CheckpointError(f"{name} permutes {height} rows, but n_group={n_group} was given; leave it out")
    expected = row_permutations("bipartite", len(found), height)
    if sorted(p.tolist() for p in found) != sorted(expected):
        raise CheckpointError(f"{name} permutes its rows in another way than PaddleSpeech does; it is another model")
    return height


def _renamed(key: str) -> str:
    for pattern, replacement in _RENAMED:
        key, count = re.subn(pattern, replacement, key)
        if count:
            return key
    return key


def _is_pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2 and type(value[0]) is str


class _DType(Stateful):
    """`numpy.dtype` of plain numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in _DTYPES:
            raise TypeError(f"numbers of the type {str(code)[:20]!r}")
        self.dtype, self.order = _DTYPES[code], "<"

    def set_state(self, state: Any) -> None:
        self.order = state[1]
        if self.order not in ("<", "|", "="):
            raise TypeError(f"numbers in the byte order {str(self.order)[:20]!r}")


class _Array(Stateful):
    """`numpy.ndarray` of plain numbers."""

    def __init__(self, *_: Any) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: torch.dtype | None = None
        self.data = b""
        self.fortran = False

    def set_state(self, state: Any) -> None:
        _, self.shape, dtype, self.fortran, self.data = state
        if type(self.shape) is not tuple or any(type(n) is not int or n < 0 for n in self.shape):
            raise TypeError("an array whose shape is none")
        if not isinstance(dtype, _DType) or type(self.data) not in (bytes, bytearray):
            raise TypeError("an array of something else than numbers")
        self.dtype = dtype.dtype
        if math.prod(self.shape) * self.dtype.itemsize != len(self.data):
            raise TypeError(f"an array of shape {self.shape} in {len(self.data)} bytes")

    def tensor(self) -> Tensor:
        if self.dtype is None:
            raise TypeError("an array without numbers")
        if not self.data:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(bytearray(self.data), dtype=self.dtype)
        if self.fortran:
            return flat.view(self.shape[::-1]).permute(*range(len(self.shape))[::-1]).contiguous()
        return flat.view(self.shape)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _reconstruct(cls: Any, *_: Any) -> _Array:
    if not isinstance(cls, Global) or cls.name != "numpy.ndarray":
        raise TypeError("an array of a class of its own")
    return _Array()


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise TypeError("bytes made of something")
    return b""


def _never(*_: Any) -> Any:
    raise TypeError("an array made by its class")


_NUMPY: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _never,
    "numpy.dtype": _DType,
    "__builtin__.bytes": _no_bytes,
    "__builtin__.tuple": tuple,
    "builtins.tuple": tuple,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
