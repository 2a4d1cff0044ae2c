"""The compiled kernels: a shared library with a plain C interface, which takes structures of pointers and sizes.

It links to CUDA's runtime alone, not to PyTorch, so that one build serves every version of PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

NAME = "libwaveflow_cuda.so"
OPERANDS = {torch.float16: 0, torch.bfloat16: 1}


def _structure(name: str, fields: str) -> type[ctypes.Structure]:
    """A structure from words like `latent* n_frames stride_zb: max_log_s~`: pointer, int, 64-bit int, float."""
    kinds = {"*": ctypes.c_void_p, ":": ctypes.c_int64, "~": ctypes.c_float}
    members = [(word.rstrip("*:~"), kinds.get(word[-1], ctypes.c_int)) for word in fields.split()]
    return type(name, (ctypes.Structure,), {"_fields_": members})


STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "normal": _structure("Normal", "seeds* out* start: n: batch"),
    "layer": _structure(
        "Layer",
        "latent* first_weight* start_weight* hidden* gate_weight* gate_bias* mix_weight* mix_bias* end_weight* "
        "end_bias* lengths* hidden_out* out* stride_zb: stride_zl: batch n_frames n_positions n_channels n_features "
        "n_blocks block_channels n_out taps half seen dilation",
    ),
    "coupling": _structure(
        "Coupling",
        "latent* parameters* early* matrix* hidden_bias* lengths* latent_out* hidden_out* stride_zb: stride_zl: "
        "stride_eb: stride_el: batch n_vectors n_frames n n_early n_hidden row_size n_positions max_log_s~",
    ),
    "lapped": _structure("Lapped", "bands* log_gain* lengths* dct* cos* sin* audio* batch n_frames n_bands half"),
    "lapglow": _structure(
        "Lapglow",
        "layers* steps* latent* start_weight* start_bias* gain_weight* gain_bias* dct* cos* sin* lengths* hidden* "
        "gated* out* latents* log_gain* frames* audio* barrier* batch n_frames n_bands n_channels n_features n_told "
        "n_blocks block_channels taps n_steps n_layers half max_log_s~",
    ),
}


class Library:
    """The kernels of one shared library.

    Raises:
        RuntimeError: The library is not there, does not load, or was built from other sources.
    """

    _with_operands: ClassVar[set[str]] = {"layer", "coupling", "lapglow"}

    def __init__(self, path: Path) -> None:
        try:
            self._functions = ctypes.CDLL(str(path))
        except OSError as error:
            raise RuntimeError(
                f"the CUDA extension's library does not load ({error}); build it again with "
                "`pip install --no-build-isolation ./cuda_ext` where nvcc is installed"
            ) from error
        self._functions.wf_error.restype = ctypes.c_char_p
        for which, (name, structure) in enumerate(STRUCTURES.items()):
            size = self._functions.wf_size_of(which)
            if size != ctypes.sizeof(structure):
                raise RuntimeError(
                    f"the CUDA extension's library takes {size} bytes for {name}, this version gives "
                    f"{ctypes.sizeof(structure)}; build it again with `pip install --no-build-isolation ./cuda_ext`"
                )

    def call(self, name: str, device: torch.device, operands: torch.dtype = torch.float16, **arguments: Any) -> None:
        """Start a kernel on the device's current stream; tensors are passed by address, None as null.

        Raises:
            RuntimeError: CUDA refused; the message is its own.
        """
        given = {k: v.data_ptr() if isinstance(v, Tensor) else v for k, v in arguments.items()}
        structure = STRUCTURES[name](**given)
        more = [OPERANDS[operands]] if name in self._with_operands else []
        if device.type == "cuda":
            with torch.cuda.device(device):
                stream = torch.cuda.current_stream(device).cuda_stream
                code = self._functions[f"wf_{name}"](ctypes.byref(structure), *more, ctypes.c_void_p(stream))
        else:
            code = self._functions[f"wf_{name}"](ctypes.byref(structure), *more, None)
        if code:
            raise RuntimeError(f"the CUDA kernel {name!r} did not start: {self._functions.wf_error(code).decode()}")


@functools.cache
def library() -> Library:
    """The installed library."""
    return Library(Path(__file__).resolve().parent / NAME)


def half_precision(dtype: torch.dtype) -> torch.dtype:
    """The type itself if there are kernels for it.

    Raises:
        ValueError: There are none.
    """
    if dtype not in OPERANDS:
        raise ValueError(
            f"the CUDA kernels multiply {[*OPERANDS]}, not {dtype}; choose one of these, or backend='triton'"
        )
    return dtype


def wide(tensor: Tensor | None, name: str) -> Tensor | None:
    """A float32 tensor itself.

    Raises:
        ValueError: It has another type.
    """
    if tensor is not None and tensor.dtype != torch.float32:
        raise ValueError(f"{name} is {tensor.dtype}, the CUDA kernels expect torch.float32")
    return tensor
