"""A LapGlow's inverse in one launch, for streaming: short stretches, small batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from waveflow_cuda.library import half_precision, library

if TYPE_CHECKING:
    from waveflow.inference.packed import PackedFlow

# Above this many frames of all items together the kernels of one operation each keep the device busier.
MOST_FRAMES = 512


def serves(flow: PackedFlow) -> bool:
    """Whether a packed flow is a LapGlow that the kernel knows: one position a frame, a start of its own."""
    if flow.tail is None or flow.start is None or flow.n_positions != 1:
        return False
    blocks = {layer.gate_bias.shape[2] // 2 for step in flow.steps for layer in step.layers}
    depths = {len(step.layers) for step in flow.steps}
    plain = all(step.n_early == 0 and step.max_log_s == flow.steps[0].max_log_s for step in flow.steps)
    return plain and len(depths) == 1 and blocks <= {16, 32, 64} and len(blocks) == 1 and flow.n_channels % 8 == 0


class OneLaunch:
    """The inverse for one batch size and number of frames, its buffers allocated once.

    Args:
        flow: Packed, in half precision, on the device; `serves(flow)`.
        batch: Items.
        n_frames: Frames of each.
    """

    def __init__(self, flow: PackedFlow, batch: int, n_frames: int) -> None:
        self.flow, self.shape = flow, (batch, n_frames)
        device, m = flow.order.device, flow.n_group
        layers = [layer for step in flow.steps for layer in step.layers]
        self.layers = _table(
            [
                (x.gate_weight, x.gate_bias, x.mix_weight, x.mix_bias, x.end_weight, x.end_bias, x.dilation)
                for x in layers
            ],
            device,
        )
        self.steps = _table([(step.matrix, step.hidden_bias) for step in flow.steps], device)
        row = flow.n_channels + flow.n_features
        self.hidden = torch.zeros(2, batch, n_frames, row, dtype=half_precision(flow.dtype), device=device)
        _, n_blocks, width = layers[0].gate_bias.shape
        self.n_blocks, self.block_channels = n_blocks, width // 2
        self.gated = torch.zeros(batch, n_frames, n_blocks * self.block_channels, dtype=flow.dtype, device=device)
        self.out, self.log_gain, self.frames = (torch.zeros(batch, n_frames, m, device=device) for _ in range(3))
        self.latents = torch.zeros(2, batch, n_frames, m, device=device)
        self.audio = torch.zeros(batch, n_frames * m, device=device)
        self.barrier = torch.zeros(1, dtype=torch.int32, device=device)

    def __call__(self, latent: Tensor, features: Tensor, lengths: Tensor) -> Tensor:
        """Audio `(B, F * M)`, which the next call overwrites.

        Args:
            latent: float32 `(B, F, M)`.
            features: `(B, F, K)`, of a mel held beyond its end.
            lengths: int32 `(B,)`, frames.
        """
        flow, tail = self.flow, self.flow.tail
        self.hidden[..., flow.n_channels :] = features
        latent = latent.index_select(2, flow.order).contiguous()
        weight, bias = flow.start
        library().call(
            "lapglow",
            latent.device,
            flow.dtype,
            layers=self.layers,
            steps=self.steps,
            latent=latent,
            start_weight=weight,
            start_bias=bias,
            gain_weight=tail.gain_weight,
            gain_bias=tail.gain_bias,
            dct=tail.dct,
            cos=tail.cos,
            sin=tail.sin,
            lengths=lengths,
            hidden=self.hidden,
            gated=self.gated,
            out=self.out,
            latents=self.latents,
            log_gain=self.log_gain,
            frames=self.frames,
            audio=self.audio,
            barrier=self.barrier,
            batch=self.shape[0],
            n_frames=self.shape[1],
            n_bands=flow.n_group,
            n_channels=flow.n_channels,
            n_features=flow.n_features,
            n_told=tail.gain_weight.shape[1],
            n_blocks=self.n_blocks,
            block_channels=self.block_channels,
            taps=flow.kernel_size,
            n_steps=len(flow.steps),
            n_layers=len(flow.steps[0].layers),
            half=len(tail.cos),
            max_log_s=flow.steps[0].max_log_s,
        )
        return self.audio


def _table(rows: list[tuple[Tensor | int | None, ...]], device: torch.device) -> Tensor:
    """Addresses and numbers as 64-bit integers on the device."""
    numbers = [[x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in row] for row in rows]
    return torch.tensor(numbers, dtype=torch.int64).to(device)
