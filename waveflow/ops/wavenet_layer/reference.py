"""A WaveNet layer in plain PyTorch: the truth for every backend.

Operands are rounded as the kernels round them; products and sums are in float32, or in float64 for float64 operands.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from waveflow.ops.wavenet_layer.packing import Packing


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
    n_positions, n_blocks, width = gate_bias.shape
    block_inputs = gate_weight.shape[2]
    packing = Packing(n_blocks, width // 2, block_inputs)
    n_features = hidden.shape[2] - n_positions * n_channels
    n_conv = len(gate_weight) - n_positions * n_blocks * (n_features // block_inputs)
    conv, told = gate_weight[:n_conv], gate_weight[n_conv:]
    conv = conv.unflatten(0, (n_blocks, -1, -(-n_channels // block_inputs))).transpose(0, 1)
    taps = packing.whole(conv, n_channels)[..., :n_channels].to(_wide(hidden))
    h = _state(hidden, n_positions, n_channels).flatten(1, 2).to(_wide(hidden))
    gate = sum(x @ tap.mT for x, tap in zip(_shifts(h, len(taps), dilation), taps))
    gate = gate + _told(hidden, told, gate_bias, n_channels)
    _finish(gate, h, mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)


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
    n_channels, wide = start_weight.shape[0], _wide(hidden)
    x = latent[..., : latent.shape[2] // 2].to(wide)
    rounded = x.to(hidden.dtype).to(wide)
    rest = (x - rounded).to(hidden.dtype).to(wide)
    seen = torch.cat([rounded, rest, torch.ones_like(x[..., :1])], dim=2)
    seen = torch.where(_inside(lengths, x.shape[1]), seen, 0)
    seen = torch.cat(list(_shifts(seen, kernel_size, dilation)), dim=2)
    seen = F.pad(seen, (0, first_weight.shape[2] - seen.shape[2]))
    packing = Packing(first_weight.shape[0], first_weight.shape[1] // 2, gate_weight.shape[2])
    first = packing.whole(first_weight[:, None], n_channels).to(wide)
    gate = seen @ first.mT + _told(hidden, gate_weight, gate_bias, n_channels)
    h = seen @ start_weight.to(wide).mT
    _finish(gate, h, mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)


def _finish(
    gate: Tensor,
    h: Tensor,
    mix_weight: Tensor | None,
    mix_bias: Tensor | None,
    end_weight: Tensor,
    end_bias: Tensor | None,
    lengths: Tensor,
    hidden_out: Tensor,
    out: Tensor,
) -> None:
    n_channels = h.shape[2]
    a, b = gate.chunk(2, dim=2)
    gated = _gated(a, b).to(hidden_out.dtype).to(gate.dtype)
    inside = _inside(lengths, gate.shape[1])
    ended = gated @ end_weight[:, :n_channels].to(gate.dtype).mT
    if end_bias is None:
        out += torch.where(inside, ended, 0)
    else:
        out.copy_(torch.where(inside, ended + end_bias, 0))
    if mix_weight is not None:
        assert mix_bias is not None
        mixed = h + gated @ mix_weight[:, :n_channels].to(gate.dtype).mT + mix_bias
        state = _state(hidden_out, h.shape[1] // hidden_out.shape[1], n_channels)
        state.copy_(torch.where(inside, mixed, 0).view(state.shape))


def _gated(a: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(a) * torch.sigmoid(b)


def _told(hidden: Tensor, tiles: Tensor, gate_bias: Tensor, n_channels: int) -> Tensor:
    """What the features add to the gate, `(B, L, 2C)`."""
    n_positions, n_blocks, width = gate_bias.shape
    packing = Packing(n_blocks, width // 2, tiles.shape[2])
    weight = packing.whole(tiles.unflatten(0, (n_positions, n_blocks, -1)), n_channels)
    bias = packing.whole(gate_bias[:, :, None, :, None], n_channels)[..., 0]
    features = hidden[..., n_positions * n_channels :].to(_wide(hidden))
    told = torch.einsum("bfk,pok->bfpo", features, weight.to(features.dtype)) + bias
    return told.flatten(1, 2)


def _shifts(h: Tensor, taps: int, dilation: int) -> Iterator[Tensor]:
    """`(B, L, C)` as each tap sees it, zero beyond the ends."""
    reach = (taps // 2) * dilation
    padded = F.pad(h, (0, 0, reach, reach))
    for tap in range(taps):
        yield padded[:, tap * dilation : tap * dilation + h.shape[1]]


def _state(hidden: Tensor, n_positions: int, n_channels: int) -> Tensor:
    """The hidden state of each position of each frame, a view `(B, F, P, C)`."""
    return hidden[..., : n_positions * n_channels].unflatten(2, (n_positions, n_channels))


def _inside(lengths: Tensor, n: int) -> Tensor:
    return (torch.arange(n, device=lengths.device) < lengths[:, None])[..., None]


def _wide(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)
