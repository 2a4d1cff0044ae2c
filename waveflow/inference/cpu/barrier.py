"""Where threads of compiled code wait for each other: by looking, since what they wait for comes in microseconds."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from waveflow.inference.cpu.kernels import compiled, inlined

# Looks before the processor is offered to others.
PATIENCE = 2000

if hasattr(os, "sched_yield"):
    _offer = types.ExternalFunction("sched_yield", types.int32())
else:

    @inlined
    def _offer():  # noqa: ANN202
        return np.int32(0)


@intrinsic
def _add_at_once(_: Any, array: types.Array, amount: types.Type) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", data, args[1], "seq_cst")
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def _seen_now(_: Any, array: types.Array) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(data, "seq_cst", 8)

    return types.int64(array), generate


@compiled
def wait(barrier, arrivals):  # noqa: ANN001, ANN201
    """Arrive, and stay until so many have.

    barrier: int64 `(1,)`, how many have arrived since the first barrier.
    """
    _add_at_once(barrier, 1)
    looks = 0
    while _seen_now(barrier) < arrivals:
        looks += 1
        if looks > PATIENCE:
            _offer()
