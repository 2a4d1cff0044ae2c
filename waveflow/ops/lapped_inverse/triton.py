"""The inverse lapped transform in Triton: one program for a stretch of frames and a block of samples.

A sample of the rotated part is a combination of two columns of the product, its own of this frame and the mirrored one
of the neighbour; both are computed where they are needed, so that no frame waits for another.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from waveflow.ops.tuning import configuration


@triton.jit
def _bands(bands_ptr, log_gain_ptr, first, frame, exists, column, M: tl.constexpr):
    offsets = (first + frame)[:, None] * M + column[None]
    mask = exists[:, None] & (column < M)[None]
    bands = tl.load(bands_ptr + offsets, mask=mask, other=0.0)
    if log_gain_ptr is not None:
        bands *= tl.exp(-tl.load(log_gain_ptr + offsets, mask=mask, other=0.0))
    return bands


@triton.jit(do_not_specialize=["n_frames"])
def lapped_inverse_kernel(
    bands_ptr,
    log_gain_ptr,
    lengths_ptr,
    dct_ptr,
    cos_ptr,
    sin_ptr,
    audio_ptr,
    n_frames,
    M: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n_tiles = tl.cdiv(n_frames, BLOCK_F)
    item = (tl.program_id(0) // n_tiles).to(tl.int64)
    length = tl.load(lengths_ptr + item)
    frame = tl.program_id(0) % n_tiles * BLOCK_F + tl.arange(0, BLOCK_F)
    exists = frame < length

    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    within = n < M
    rising, falling = n < HALF, within & (n >= M - HALF)
    own = tl.zeros((BLOCK_F, BLOCK_N), dtype=tl.float32)
    before = tl.zeros((BLOCK_F, BLOCK_N), dtype=tl.float32)
    after = tl.zeros((BLOCK_F, BLOCK_N), dtype=tl.float32)
    for k in tl.range(0, M, BLOCK_K):
        column = k + tl.arange(0, BLOCK_K)
        mask = (column < M)[:, None] & within[None]
        dct = tl.load(dct_ptr + column[:, None] * M + n[None], mask=mask, other=0.0)
        bands = _bands(bands_ptr, log_gain_ptr, item * n_frames, frame, exists, column, M)
        own = tl.dot(bands, dct, own, input_precision="tf32x3")
        mirrored = tl.load(dct_ptr + column[:, None] * M + (M - 1 - n)[None], mask=mask, other=0.0)
        bands = _bands(bands_ptr, log_gain_ptr, item * n_frames, frame - 1, exists & (frame > 0), column, M)
        before = tl.dot(bands, mirrored, before, input_precision="tf32x3")
        bands = _bands(bands_ptr, log_gain_ptr, item * n_frames, frame + 1, frame + 1 < length, column, M)
        after = tl.dot(bands, mirrored, after, input_precision="tf32x3")

    j = tl.where(rising, n, M - 1 - n)
    cos = tl.load(cos_ptr + j, mask=rising | falling, other=1.0)[None]
    sin = tl.load(sin_ptr + j, mask=rising | falling, other=0.0)[None]
    audio = tl.where(rising[None] & (exists & (frame > 0))[:, None], cos * own - sin * before, own)
    audio = tl.where(falling[None] & (frame + 1 < length)[:, None], cos * own + sin * after, audio)
    offsets = (item * n_frames + frame)[:, None] * M + n[None]
    tl.store(audio_ptr + offsets, audio, mask=(frame < n_frames)[:, None] & within[None])


def lapped_inverse(
    bands: Tensor, log_gain: Tensor | None, lengths: Tensor, dct: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """As `waveflow.ops.lapped_inverse.lapped_inverse`."""
    batch, n_frames, m = bands.shape
    audio = torch.empty(batch, n_frames * m, dtype=torch.float32, device=bands.device)
    config = configuration("lapped_inverse", bands.device, channels=m, size=4, rows=n_frames)
    grid = (batch * triton.cdiv(n_frames, config["BLOCK_F"]), triton.cdiv(m, config["BLOCK_N"]))
    log_gain = None if log_gain is None else log_gain.contiguous()
    lapped_inverse_kernel[grid](
        bands.contiguous(), log_gain, lengths, dct, cos, sin, audio, n_frames, M=m, HALF=len(cos), **config
    )
    return audio
