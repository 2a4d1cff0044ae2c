"""A WaveNet layer as one Triton kernel: two matrix products, and the gate between them stays on the chip.

One kernel takes most of the file: cut in two, its operands would have to be followed across files.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from waveflow.ops.tuning import configuration
from waveflow.ops.wavenet_layer.packing import n_taps


@triton.jit
def _frames(
    source,
    item,
    frame,
    column,
    n_frames,
    ROW: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    TMA: tl.constexpr,
):
    """`(HEIGHT, WIDTH)` from frame `frame` and column `column` of an item on, zero outside the item."""
    if TMA:
        return source.load([item, frame, column]).reshape(HEIGHT, WIDTH)
    else:
        rows = frame + tl.arange(0, HEIGHT)
        start = source + item.to(tl.int64) * n_frames * ROW + column
        offsets = rows[:, None] * ROW + tl.arange(0, WIDTH)[None]
        return tl.load(start + offsets, mask=((rows >= 0) & (rows < n_frames))[:, None], other=0.0)


@triton.jit
def _block(
    source,
    row,
    column,
    n_rows,
    STRIDE: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    TMA: tl.constexpr,
):
    """`(HEIGHT, WIDTH)` of a matrix of `n_rows` rows, zero below them."""
    if TMA:
        return source.load([row, column])
    else:
        rows = row + tl.arange(0, HEIGHT)
        offsets = rows.to(tl.int64)[:, None] * STRIDE + (column + tl.arange(0, WIDTH))[None]
        return tl.load(source + offsets, mask=(rows < n_rows)[:, None], other=0.0)


@triton.jit
def _tanh(x):
    """By the device's own instruction, good to 11 bits."""
    return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def _gate(acc, bias_ptr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr, APPROXIMATE: tl.constexpr):
    """tanh(a) sigmoid(b), by two tanh where 11 bits are enough, by two exponentials and a division otherwise.

        sigmoid(b) = (1 + tanh(b / 2)) / 2
        tanh(a) sigmoid(b) = (1 - u) / ((1 + u)(1 + v)),   u = exp(-2a), v = exp(-b)

    Written so that few numbers live at once: the compiler serialises the matrix products of a kernel that spills.
    """
    a, b = acc.reshape(BLOCK_T, 2, BLOCK_C).permute(0, 2, 1).split()
    a += tl.load(bias_ptr + tl.arange(0, BLOCK_C))[None]
    if APPROXIMATE:
        a = 0.5 * _tanh(a)
        b += tl.load(bias_ptr + BLOCK_C + tl.arange(0, BLOCK_C))[None]
        return a + a * _tanh(0.5 * b)
    else:
        # The bound keeps u / u from being infinity over infinity; an infinite v gives the right limit by itself.
        u = tl.exp2(tl.minimum(a * -2.8853900817779268, 60.0))
        b += tl.load(bias_ptr + BLOCK_C + tl.arange(0, BLOCK_C))[None]
        v = tl.exp2(b * -1.4426950408889634)
        return (1 - u) / ((1 + u) * (1 + v))


@triton.jit
def _seen(
    latent_ptr,
    stride_l,
    position,
    length,
    dilation,
    HALF: tl.constexpr,
    TAPS: tl.constexpr,
    WIDTH: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """What the first layer's taps see of the latent, `(BLOCK_T, WIDTH)`, in the order of `packing.pack_first`."""
    column = tl.arange(0, WIDTH)
    tap, part = column // (2 * HALF + 1), column % (2 * HALF + 1)
    seen = position[:, None] + ((tap - TAPS // 2) * dilation)[None]
    inside = (seen >= 0) & (seen < length) & (tap < TAPS)[None]
    offsets = seen.to(tl.int64) * stride_l + (part % HALF)[None]
    x = tl.load(latent_ptr + offsets, mask=inside & (part < 2 * HALF)[None], other=0.0)
    rounded = x.to(DTYPE)
    x = tl.where((part < HALF)[None], rounded, (x - rounded.to(tl.float32)).to(DTYPE)).to(tl.float32)
    return tl.where(inside & (part == 2 * HALF)[None], 1.0, x).to(DTYPE)


@triton.jit(do_not_specialize=["n_frames", "dilation", "shift"])
def wavenet_layer_kernel(
    latent_ptr,
    first_ptr,
    start_ptr,
    hidden,
    residual_ptr,
    gate,
    gate_bias_ptr,
    mix_ptr,
    mix_bias_ptr,
    end_ptr,
    end_bias_ptr,
    lengths_ptr,
    hidden_out_ptr,
    out_ptr,
    stride_zb,
    stride_zl,
    n_frames,
    dilation,
    shift,
    N_CHANNELS: tl.constexpr,
    N_POSITIONS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    N_BLOCKS: tl.constexpr,
    N_OUT: tl.constexpr,
    TAPS: tl.constexpr,
    HALF: tl.constexpr,
    SEEN: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
    TOGETHER: tl.constexpr,
    TMA: tl.constexpr,
    APPROXIMATE: tl.constexpr,
):
    """One program makes one position of BLOCK_T frames of one item; its taps are runs of frames of other positions.

    TOGETHER blocks of channels are summed in one pass over the inputs, as many as there are registers for.
    """
    n_tiles = tl.cdiv(n_frames, BLOCK_T)
    program = tl.program_id(0)
    frame = program % n_tiles * BLOCK_T
    position = program // n_tiles % N_POSITIONS
    item = program // n_tiles // N_POSITIONS
    length = tl.load(lengths_ptr + item)

    FIRST: tl.constexpr = latent_ptr is not None
    ROW: tl.constexpr = N_POSITIONS * N_CHANNELS + N_FEATURES
    TAP_TILES: tl.constexpr = (N_CHANNELS + BLOCK_K - 1) // BLOCK_K
    CONV_TILES: tl.constexpr = 0 if FIRST else TAPS * TAP_TILES
    TOLD_TILES: tl.constexpr = N_FEATURES // BLOCK_K
    ALL_TILES: tl.constexpr = N_BLOCKS * (CONV_TILES + N_POSITIONS * TOLD_TILES)
    WIDTH: tl.constexpr = N_BLOCKS * BLOCK_C

    frames = frame + tl.arange(0, BLOCK_T)
    positions = frames * N_POSITIONS + position
    inside = positions < length
    if FIRST:
        latent_item = latent_ptr + item.to(tl.int64) * stride_zb
        seen = _seen(latent_item, stride_zl, positions, length, dilation, HALF, TAPS, SEEN, DTYPE)

    gated = ()
    for run in tl.static_range(0, N_BLOCKS, TOGETHER):
        sums = ()
        for i in tl.static_range(TOGETHER):
            if FIRST:
                row = (run + i) * 2 * BLOCK_C
                folded = _block(first_ptr, row, 0, N_BLOCKS * 2 * BLOCK_C, SEEN, 2 * BLOCK_C, SEEN, False)
                sums = sums + (tl.dot(seen, folded.T, input_precision=PRECISION),)
            else:
                sums = sums + (tl.zeros((BLOCK_T, 2 * BLOCK_C), dtype=tl.float32),)
        # Taps and features in one loop: each loop fills and drains its pipeline of loads once.
        for tile in tl.range(CONV_TILES + TOLD_TILES):
            of_features = tile >= CONV_TILES
            reach = position + (tile // TAP_TILES - TAPS // 2) * dilation + shift * N_POSITIONS
            k = tl.where(of_features, tile - CONV_TILES, tile % TAP_TILES) * BLOCK_K
            column = tl.where(of_features, N_POSITIONS, reach % N_POSITIONS) * N_CHANNELS + k
            start = frame + tl.where(of_features, 0, reach // N_POSITIONS - shift)
            x = _frames(hidden, item, start, column, n_frames, ROW, BLOCK_T, BLOCK_K, TMA)
            added = ()
            for i in tl.static_range(TOGETHER):
                told = N_BLOCKS * CONV_TILES + (position * N_BLOCKS + run + i) * TOLD_TILES + tile - CONV_TILES
                row = tl.where(of_features, told, (run + i) * CONV_TILES + tile) * 2 * BLOCK_C
                weight = _block(gate, row, 0, ALL_TILES * 2 * BLOCK_C, BLOCK_K, 2 * BLOCK_C, BLOCK_K, TMA)
                added = added + (tl.dot(x, weight.T, sums[i], input_precision=PRECISION),)
            sums = added
        for i in tl.static_range(TOGETHER):
            bias = gate_bias_ptr + (position * N_BLOCKS + run + i) * 2 * BLOCK_C
            gated = gated + (_gate(sums[i], bias, BLOCK_T, BLOCK_C, APPROXIMATE).to(DTYPE),)

    if mix_ptr is not None:
        for row in tl.range(0, N_CHANNELS, BLOCK_R):
            mixed = tl.zeros((BLOCK_T, BLOCK_R), dtype=tl.float32)
            for block in tl.static_range(N_BLOCKS):
                weight = _block(mix_ptr, row, block * BLOCK_C, N_CHANNELS, WIDTH, BLOCK_R, BLOCK_C, False)
                mixed = tl.dot(gated[block], weight.T, mixed, input_precision=PRECISION)
            if FIRST:
                weight = _block(start_ptr, row, 0, N_CHANNELS, SEEN, BLOCK_R, SEEN, False)
                mixed = tl.dot(seen, weight.T, mixed, input_precision=PRECISION)
            else:
                column = position * N_CHANNELS + row
                mixed += _frames(residual_ptr, item, frame, column, n_frames, ROW, BLOCK_T, BLOCK_R, False).to(
                    tl.float32
                )
            mixed += tl.load(mix_bias_ptr + row + tl.arange(0, BLOCK_R))[None]
            mixed = tl.where(inside[:, None], mixed, 0.0).to(DTYPE)
            column = position * N_CHANNELS + row
            offsets = frames[:, None] * ROW + tl.arange(0, BLOCK_R)[None]
            base = hidden_out_ptr + item.to(tl.int64) * n_frames * ROW + column
            tl.store(base + offsets, mixed, mask=(frames < n_frames)[:, None])

    out_item = out_ptr + item.to(tl.int64) * n_frames * N_POSITIONS * N_OUT
    for start in tl.range(0, N_OUT, BLOCK_N):
        ended = tl.zeros((BLOCK_T, BLOCK_N), dtype=tl.float32)
        for block in tl.static_range(N_BLOCKS):
            weight = _block(end_ptr, start, block * BLOCK_C, N_OUT, WIDTH, BLOCK_N, BLOCK_C, False)
            ended = tl.dot(gated[block], weight.T, ended, input_precision=PRECISION)
        outs = start + tl.arange(0, BLOCK_N)
        pointers = out_item + positions.to(tl.int64)[:, None] * N_OUT + outs[None]
        if end_bias_ptr is not None:
            ended += tl.load(end_bias_ptr + outs, mask=outs < N_OUT, other=0.0)[None]
            ended = tl.where(inside[:, None], ended, 0.0)
            tl.store(pointers, ended, mask=(frames < n_frames)[:, None] & (outs < N_OUT)[None])
        else:
            mask = inside[:, None] & (outs < N_OUT)[None]
            tl.store(pointers, tl.load(pointers, mask=mask, other=0.0) + ended, mask=mask)


def wavenet_layer(
    hidden: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mix_weight: Tensor | None,
    mix_bias: Tensor | None,
    end_weight: Tensor,
    end_bias: Tensor | None,
    lengths: Tensor,
    hidden_out: Tensor,
    out: Tensor,
    n_channels: int,
    dilation: int,
) -> None:
    """As `waveflow.ops.wavenet_layer.wavenet_layer`."""
    taps = n_taps(hidden, gate_weight, gate_bias, n_channels)
    after = (mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)
    _launch(None, None, None, hidden, gate_weight, gate_bias, *after, n_channels, taps, dilation)


def wavenet_first(
    latent: Tensor,
    hidden: Tensor,
    first_weight: Tensor,
    start_weight: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mix_weight: Tensor | None,
    mix_bias: Tensor | None,
    end_weight: Tensor,
    end_bias: Tensor,
    lengths: Tensor,
    hidden_out: Tensor,
    out: Tensor,
    kernel_size: int,
    dilation: int,
) -> None:
    """As `waveflow.ops.wavenet_layer.wavenet_first`."""
    after = (mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)
    n_channels = start_weight.shape[0]
    _launch(
        latent, first_weight, start_weight, hidden, gate_weight, gate_bias, *after, n_channels, kernel_size, dilation
    )


def _launch(
    latent: Tensor | None,
    first_weight: Tensor | None,
    start_weight: Tensor | None,
    hidden: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    mix_weight: Tensor | None,
    mix_bias: Tensor | None,
    end_weight: Tensor,
    end_bias: Tensor | None,
    lengths: Tensor,
    hidden_out: Tensor,
    out: Tensor,
    n_channels: int,
    taps: int,
    dilation: int,
) -> None:
    batch, n_frames, row = hidden.shape
    n_positions, n_blocks, width = gate_bias.shape
    n_out, block_c, block_k = out.shape[2], width // 2, gate_weight.shape[2]
    size = hidden.element_size()
    if n_channels % 8:
        raise ValueError(f"n_channels is {n_channels}, the kernel moves eight at a time; use the reference backend")
    config = dict(configuration("wavenet_layer", hidden.device, channels=n_channels, size=size, rows=n_frames))
    block_t, block_r = config["BLOCK_T"], min(config.pop("BLOCK_R"), n_channels & -n_channels)
    together = n_blocks if config.pop("ALL_BLOCKS") else 1
    block_n = min(64, max(16, triton.next_power_of_2(n_out)))

    def tiled(tensor: Tensor, *block: int) -> TensorDescriptor | Tensor:
        return TensorDescriptor.from_tensor(tensor, list(block)) if config["TMA"] else tensor

    wavenet_layer_kernel[(triton.cdiv(n_frames, block_t) * n_positions * batch,)](
        latent,
        first_weight,
        start_weight,
        tiled(hidden, 1, block_t, block_k),
        hidden,
        tiled(gate_weight.flatten(0, 1), width, block_k),
        gate_bias,
        mix_weight,
        mix_bias,
        end_weight,
        end_bias,
        lengths,
        hidden_out,
        out,
        0 if latent is None else latent.stride(0),
        0 if latent is None else latent.stride(1),
        n_frames,
        dilation,
        -(-(taps // 2) * dilation // n_positions),
        N_CHANNELS=n_channels,
        N_POSITIONS=n_positions,
        N_FEATURES=row - n_positions * n_channels,
        N_BLOCKS=n_blocks,
        N_OUT=n_out,
        TAPS=taps,
        HALF=0 if latent is None else latent.shape[2] // 2,
        SEEN=0 if first_weight is None else first_weight.shape[2],
        BLOCK_C=block_c,
        BLOCK_K=block_k,
        BLOCK_N=block_n,
        DTYPE=_TYPES[hidden.dtype],
        PRECISION="ieee" if size == 2 else "tf32x3",
        BLOCK_R=block_r,
        TOGETHER=together,
        APPROXIMATE=size == 2 and isinstance(wavenet_layer_kernel, triton.JITFunction),
        **config,
    )


_TYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}
