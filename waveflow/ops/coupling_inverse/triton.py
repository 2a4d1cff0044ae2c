"""The inverse of a coupling in Triton: one program for a stretch of positions and a block of outputs."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from waveflow.ops.tuning import configuration


@triton.jit(do_not_specialize=["n_vectors", "n_frames"])
def coupling_inverse_kernel(
    latent_ptr,
    parameters_ptr,
    early_ptr,
    matrix_ptr,
    hidden_bias_ptr,
    lengths_ptr,
    latent_out_ptr,
    hidden_out_ptr,
    stride_zb,
    stride_zl,
    stride_eb,
    stride_el,
    n_vectors,
    n_frames,
    max_log_s,
    N: tl.constexpr,
    N_EARLY: tl.constexpr,
    N_HIDDEN: tl.constexpr,
    ROW: tl.constexpr,
    N_POSITIONS: tl.constexpr,
    BOUNDED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    n_tiles = tl.cdiv(n_vectors, BLOCK_L)
    item = (tl.program_id(0) // n_tiles).to(tl.int64)
    position = tl.program_id(0) % n_tiles * BLOCK_L + tl.arange(0, BLOCK_L)
    inside = position < tl.load(lengths_ptr + item)
    latent_row = latent_ptr + item * stride_zb + position.to(tl.int64)[:, None] * stride_zl
    parameters_row = parameters_ptr + (item * n_vectors + position)[:, None] * N

    WIDTH: tl.constexpr = N_EARLY + N
    out = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_L, BLOCK_N), dtype=tl.float32)
    for k in tl.range(0, WIDTH, BLOCK_K):
        column = k + tl.arange(0, BLOCK_K)
        channel = column - N_EARLY
        of_latent = inside[:, None] & ((channel >= 0) & (channel < N))[None]
        changed = inside[:, None] & ((channel >= N // 2) & (channel < N))[None]
        v = tl.load(latent_row + channel[None], mask=of_latent, other=0.0)
        t = tl.load(parameters_row + (channel - N // 2)[None], mask=changed, other=0.0)
        log_s = tl.load(parameters_row + channel[None], mask=changed, other=0.0)
        if BOUNDED:
            # tanh x = 1 - 2 / (exp(2x) + 1)
            log_s = max_log_s * (1 - 2 / (tl.exp(2 * log_s / max_log_s) + 1))
        v = (v - t) * tl.exp(-log_s)
        if early_ptr is not None:
            early_row = early_ptr + item * stride_eb + position.to(tl.int64)[:, None] * stride_el
            v += tl.load(early_row + column[None], mask=inside[:, None] & (column < N_EARLY)[None], other=0.0)
        matrix = tl.load(
            matrix_ptr + out[:, None] * WIDTH + column[None],
            mask=(out < WIDTH + N_HIDDEN)[:, None] & (column < WIDTH)[None],
            other=0.0,
        )
        acc = tl.dot(v, matrix.T, acc, input_precision=PRECISION)

    exists = (position < n_vectors)[:, None]
    of_latent = exists & (out < WIDTH)[None]
    latent_out_row = latent_out_ptr + (item * n_vectors + position)[:, None] * WIDTH
    tl.store(latent_out_row + out[None], tl.where(inside[:, None], acc, 0.0), mask=of_latent)
    if hidden_out_ptr is not None:
        of_hidden = (out >= WIDTH) & (out < WIDTH + N_HIDDEN)
        acc += tl.load(hidden_bias_ptr + out - WIDTH, mask=of_hidden, other=0.0)[None]
        hidden = tl.where(inside[:, None], acc, 0.0).to(hidden_out_ptr.dtype.element_ty)
        frame = item * n_frames + position // N_POSITIONS
        hidden_row = hidden_out_ptr + (frame * ROW + position % N_POSITIONS * N_HIDDEN)[:, None]
        tl.store(hidden_row + (out - WIDTH)[None], hidden, mask=exists & of_hidden[None])


def coupling_inverse(
    latent: Tensor,
    parameters: Tensor,
    early: Tensor | None,
    matrix: Tensor,
    hidden_bias: Tensor | None,
    lengths: Tensor,
    latent_out: Tensor,
    hidden_out: Tensor | None,
    max_log_s: float,
) -> None:
    """As `waveflow.ops.coupling_inverse.coupling_inverse`."""
    batch, n_vectors, n = latent.shape
    width = matrix.shape[1]
    n_hidden = matrix.shape[0] - width
    n_frames, row = (n_vectors, 0) if hidden_out is None else hidden_out.shape[1:]
    config = configuration("coupling_inverse", latent.device, channels=n, size=4, rows=n_vectors)
    grid = (
        batch * triton.cdiv(n_vectors, config["BLOCK_L"]),
        triton.cdiv(width + n_hidden, config["BLOCK_N"]),
    )
    coupling_inverse_kernel[grid](
        latent,
        parameters,
        early,
        matrix,
        hidden_bias,
        lengths,
        latent_out,
        hidden_out,
        latent.stride(0),
        latent.stride(1),
        0 if early is None else early.stride(0),
        0 if early is None else early.stride(1),
        n_vectors,
        n_frames,
        max_log_s,
        N=n,
        N_EARLY=width - n,
        N_HIDDEN=n_hidden,
        ROW=row,
        N_POSITIONS=n_vectors // n_frames,
        BOUNDED=max_log_s > 0,
        PRECISION="tf32x3",
        **config,
    )
