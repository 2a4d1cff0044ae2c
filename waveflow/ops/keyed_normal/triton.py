"""Keyed noise in Triton: one program for a stretch of counters of one utterance."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _log(x):
    """log x of normal numbers, good to float32's last place near 1 too, where the hardware's approximation is not."""
    bits = x.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) >> 23
    m = (bits - (exponent << 23)).to(tl.float32, bitcast=True)
    s = (m - 1) / (m + 1)
    q = s * s
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9))))
    return exponent.to(tl.float32) * 0.6931471805599453 + 2 * s * series


@triton.jit
def _box_muller(word_0, word_1):
    u_0 = ((word_0 >> 9).to(tl.float32) + 0.5) * (1 / 8388608)
    u_1 = ((word_1 >> 9).to(tl.float32) + 0.5) * (1 / 8388608)
    radius = tl.sqrt(-2 * _log(u_0))
    angle = 6.283185307179586 * u_1
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit(do_not_specialize=["start", "n"])
def keyed_normal_kernel(seeds_ptr, out_ptr, start, n, BLOCK: tl.constexpr):
    item = tl.program_id(1)
    seed = tl.load(seeds_ptr + item)
    counter = start // 4 + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    low, high = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    zero = tl.zeros((BLOCK,), dtype=tl.uint32)
    w_0, w_1, w_2, w_3 = tl.philox(seed, low, high, zero, zero)
    x_0, x_1 = _box_muller(w_0, w_1)
    x_2, x_3 = _box_muller(w_2, w_3)
    samples = tl.join(tl.join(x_0, x_2), tl.join(x_1, x_3))
    within = tl.arange(0, 2)[:, None] * 2 + tl.arange(0, 2)[None, :]
    index = counter[:, None, None] * 4 + within[None] - start
    tl.store(out_ptr + item.to(tl.int64) * n + index, samples, mask=(index >= 0) & (index < n))


def keyed_normal(seeds: Tensor, start: int, n: int) -> Tensor:
    """As `waveflow.ops.keyed_normal.keyed_normal`."""
    out = torch.empty(seeds.shape[0], n, dtype=torch.float32, device=seeds.device)
    if n:
        block = 256
        grid = (triton.cdiv(-(-(start + n) // 4) - start // 4, block), seeds.shape[0])
        keyed_normal_kernel[grid](seeds, out, start, n, BLOCK=block)
    return out
