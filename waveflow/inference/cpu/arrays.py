"""What the compiled inverse of a CPU works on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from waveflow.inference.cpu.kernels import inlined


def _record(names: str) -> list[tuple[str, type]]:
    return [(name, np.int64) for name in names.split()]


# Sizes that are the same in all steps, and where the numbers of a layer, a step and the lapped transform lie.
FLOW = np.dtype(_record("n_rows n_positions channels features lead width y_width tiles"))
LAYER = np.dtype(_record("dilation seen taps told told_bias mix mix_bias end end_bias"))
STEP = np.dtype([*_record("start start_bias mix half passes changes early first last"), ("bound", np.float32)])
TAIL = np.dtype(_record("gain gain_bias features dct cos sin overlap"))


class Arrays(NamedTuple):
    """Weights, buffers and scratch; C and K as filled up by `CpuLayout`. The last row of a buffer takes what is to be
    thrown away.

    Attributes:
        flow, steps, layers: Records of `FLOW`, `STEP` and `LAYER`.
        tail: Nothing, or the record of `TAIL`.
        weights: Operands, as `waveflow.inference.cpu.products.pack` lays them out, flat.
        floats: float32 weights and biases, flat; begins with zeros.
        spoken: Operands, `(F + ROWS, K)`, flat.
        features: The same in float32 and not centred, for the tail.
        told: Where positions of a frame are told apart, operands, `(n_rows + P, 2C)`, flat.
        inside: uint8 `(n_rows,)`, 0 where a row belongs to no item and stays zero.
        hidden: float32 `(2, lead + n_rows + 5 lead + 1, C)`.
        seen: What a narrow first layer sees, as `hidden`: ones, x_a, zeros. One column where none is narrow.
        y: float32 `(n_rows + ROWS, y_width)`.
        latents: float32 `(n_steps + 1, n_rows + ROWS, width)`.
        frames: float32 `(2, n_rows + ROWS, n_bands)`, what the tail makes, the second the audio.
        halves, singles, places: Scratch of each worker, operands, float32 and int64, `(n_workers, ...)`.
    """

    flow: np.ndarray
    steps: np.ndarray
    layers: np.ndarray
    tail: np.ndarray
    weights: np.ndarray
    floats: np.ndarray
    spoken: np.ndarray
    features: np.ndarray
    told: np.ndarray
    inside: np.ndarray
    hidden: np.ndarray
    seen: np.ndarray
    y: np.ndarray
    latents: np.ndarray
    frames: np.ndarray
    halves: np.ndarray
    singles: np.ndarray
    places: np.ndarray


@inlined
def shares(n, part, n_parts):  # noqa: ANN001, ANN201
    """The first of `n` things that belong to a part, and the one after its last."""
    return n * part // n_parts, n * (part + 1) // n_parts
