"""The kernels on the CPU: Triton's interpreter, with one repair."""

import importlib.util

import numpy as np
import pytest
import torch

INTERPRETED = not torch.cuda.is_available()

if INTERPRETED and importlib.util.find_spec("triton"):
    import triton.language as tl
    from triton.runtime import interpreter

    plain_dot = interpreter.InterpreterBuilder.create_dot

    def widening_dot(self, a, b, d, *settings):
        """Triton 3.6 interprets bfloat16 as integers of its bits, and multiplies those."""
        return plain_dot(self, *(widened(x) if x.dtype == tl.bfloat16 else x for x in (a, b)), d, *settings)

    def widened(x):
        bits = x.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    interpreter.InterpreterBuilder.create_dot = widening_dot


@pytest.fixture
def device():
    """Where kernels are tested: on the GPU if there is one."""
    pytest.importorskip("triton", reason="Triton is part of PyTorch's builds for Linux alone")
    return "cpu" if INTERPRETED else "cuda"
