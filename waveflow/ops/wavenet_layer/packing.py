"""The form in which a WaveNet layer's weights reach the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """How the gate's weights are cut.

    The gate has C channels, each a tanh of one number times the sigmoid of another. They are made block by block: a
    block of `block_channels` channels is one matrix product with `2 * block_channels` outputs, the tanh's before the
    sigmoid's, so that both halves of a channel meet in the registers of one thread. Its weights are cut along the
    inputs into tiles of `block_inputs`, 128 bytes wide: what the copy engine moves and the tensor cores read at once.

    Attributes:
        n_blocks: Blocks of channels; the last is filled up with zero weights.
        block_channels: Channels of each.
        block_inputs: Inputs of a tile.
    """

    n_blocks: int
    block_channels: int
    block_inputs: int

    @classmethod
    def of(cls, n_channels: int, dtype: torch.dtype) -> Packing:
        """The packing for a width and a type of operands."""
        half = dtype.itemsize == 2
        widest = 128 if half and n_channels % 128 == 0 else 64
        block = min(widest, max(16, 1 << (n_channels - 1).bit_length()))
        return cls(-(-n_channels // block), block, min(64 if half else 32, block))

    def channels(self, per_channel: Tensor) -> Tensor:
        """Cut `(..., 2C, K)`, tanh rows first, into `(..., n_blocks, 2 * block_channels, K)`."""
        *lead, rows, width = per_channel.shape
        halves = per_channel.reshape(*lead, 2, rows // 2, width)
        full = F.pad(halves, (0, 0, 0, self.n_blocks * self.block_channels - rows // 2))
        blocks = full.reshape(*lead, 2, self.n_blocks, self.block_channels, width).transpose(-4, -3)
        return blocks.reshape(*lead, self.n_blocks, 2 * self.block_channels, width)

    def tiles(self, weight: Tensor) -> Tensor:
        """Cut `(..., 2C, K)` into `(..., n_blocks, ceil(K / block_inputs), 2 * block_channels, block_inputs)`."""
        blocks = self.channels(F.pad(weight, (0, -weight.shape[-1] % self.block_inputs)))
        return blocks.unflatten(-1, (-1, self.block_inputs)).transpose(-3, -2)

    def whole(self, tiles: Tensor, n_channels: int) -> Tensor:
        """Undo `tiles`, but for the zeros that fill up the inputs: `(..., 2C, K)`."""
        blocks = tiles.transpose(-3, -2).flatten(-2).unflatten(-2, (2, self.block_channels))
        return blocks.transpose(-4, -3).flatten(-3, -2)[..., :n_channels, :].flatten(-3, -2)


def n_taps(hidden: Tensor, gate_weight: Tensor, gate_bias: Tensor, n_channels: int) -> int:
    """Taps of the dilated convolution whose tiles come first in a packed gate.

    Args:
        hidden: Rows of state and features, `(B, F, n_positions * n_channels + n_features)`.
        gate_weight: Tiles, `(n_tiles, 2 * block_channels, block_inputs)`.
        gate_bias: `(n_positions, n_blocks, 2 * block_channels)`.
        n_channels: Width of the state.
    """
    n_positions, n_blocks, _ = gate_bias.shape
    told_tiles = (hidden.shape[2] - n_positions * n_channels) // gate_weight.shape[2]
    conv_tiles = len(gate_weight) // n_blocks - n_positions * told_tiles
    return conv_tiles // -(-n_channels // gate_weight.shape[2])


def pack_gate(conv: Tensor, told: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay out the weights of a layer's gate.

    Args:
        conv: The dilated convolution, `(2C, C, taps)`.
        told: For each position of a frame, the map of the frame's features, `(P, 2C, K)`, K a multiple of the
            packing's `block_inputs`.
        dtype: Of the result.

    Returns:
        `(tiles, 2 * block_channels, block_inputs)`: block by block and tap by tap the convolution's tiles, then
        position by position and block by block the features'.
    """
    taps = Packing.of(conv.shape[1], dtype).tiles(conv.permute(2, 0, 1)).transpose(0, 1)
    return torch.cat([taps.flatten(0, 2).to(dtype), pack_told(told, dtype)])


def pack_told(told: Tensor, dtype: torch.dtype) -> Tensor:
    """The part of `pack_gate` for the features alone."""
    packing = Packing.of(told.shape[1] // 2, dtype)
    return packing.tiles(told).flatten(0, 2).to(dtype).contiguous()


def pack_bias(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay out the gate's biases `(P, 2C)` as `(P, n_blocks, 2 * block_channels)`, in their own precision."""
    packing = Packing.of(bias.shape[1] // 2, dtype)
    return packing.channels(bias[..., None])[..., 0].contiguous()


def pack_after(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay out a map of the gate's output, `(N, C)` as `(N, n_blocks * block_channels)`."""
    packing = Packing.of(weight.shape[1], dtype)
    filled = F.pad(weight, (0, packing.n_blocks * packing.block_channels - weight.shape[1]))
    return filled.to(dtype).contiguous()


def features_width(n_features: int, n_channels: int, dtype: torch.dtype) -> int:
    """Columns that hold a frame's features, zeros filling up the last tile."""
    tile = Packing.of(n_channels, dtype).block_inputs
    return -(-n_features // tile) * tile


def pack_first(start: Tensor, start_bias: Tensor, conv: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Fold the map that makes the first hidden state into the first layer.

    Each tap sees, of a vector x of `half` channels, 2 * half + 1 numbers: x rounded to the operands' type, what the
    rounding left of it, rounded too, and a one that brings in the bias where the item is.

    Args:
        start: `(C, half)`.
        start_bias: `(C,)`.
        conv: The first dilated convolution, `(2C, C, taps)`.
        dtype: Of the result.

    Returns:
        The gate's weights `(n_blocks, 2 * block_channels, K)` and the hidden state's, `(C, K)`, where K is
        `taps * (2 * half + 1)`, filled up with zeros to a power of two.
    """
    packing = Packing.of(conv.shape[1], dtype)
    seen = torch.cat([start, start, start_bias[:, None]], dim=1)
    gate = torch.einsum("oct,ck->otk", conv, seen).flatten(1)
    centre = torch.zeros_like(gate[: len(seen)]).unflatten(1, (conv.shape[2], -1))
    centre[:, conv.shape[2] // 2] = seen
    fill = (0, max(16, 1 << (gate.shape[1] - 1).bit_length()) - gate.shape[1])
    gate, hidden = F.pad(gate, fill), F.pad(centre.flatten(1), fill)
    return packing.channels(gate).to(dtype).contiguous(), hidden.to(dtype).contiguous()
