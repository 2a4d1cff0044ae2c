"""A WaveNet layer by one CUDA kernel."""

from __future__ import annotations

from torch import Tensor

from waveflow.ops.wavenet_layer.packing import n_taps
from waveflow_cuda.library import half_precision, library, wide


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
    """As `waveflow.ops.wavenet_layer.wavenet_layer`, in half precision."""
    taps = n_taps(hidden, gate_weight, gate_bias, n_channels)
    after = (mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)
    _start(None, None, None, hidden, gate_weight, gate_bias, *after, n_channels, taps, dilation)


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
    """As `waveflow.ops.wavenet_layer.wavenet_first`, in half precision."""
    after = (mix_weight, mix_bias, end_weight, end_bias, lengths, hidden_out, out)
    first = (latent, first_weight, start_weight)
    _start(*first, hidden, gate_weight, gate_bias, *after, start_weight.shape[0], kernel_size, dilation)


def _start(
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
    if n_channels % 8:
        raise ValueError(f"n_channels is {n_channels}, the kernel moves eight at a time; use the reference backend")
    # The latent's strides are of a slice: its channels lie side by side.
    library().call(
        "layer",
        hidden.device,
        half_precision(hidden.dtype),
        latent=wide(latent, "latent"),
        first_weight=first_weight,
        start_weight=start_weight,
        hidden=hidden,
        gate_weight=gate_weight,
        gate_bias=wide(gate_bias, "gate_bias"),
        mix_weight=mix_weight,
        mix_bias=mix_bias,
        end_weight=end_weight,
        end_bias=end_bias,
        lengths=lengths,
        hidden_out=hidden_out,
        out=wide(out, "out"),
        stride_zb=0 if latent is None else latent.stride(0),
        stride_zl=0 if latent is None else latent.stride(1),
        batch=batch,
        n_frames=n_frames,
        n_positions=n_positions,
        n_channels=n_channels,
        n_features=row - n_positions * n_channels,
        n_blocks=n_blocks,
        block_channels=width // 2,
        n_out=out.shape[2],
        taps=taps,
        half=0 if latent is None else latent.shape[2] // 2,
        seen=0 if first_weight is None else first_weight.shape[2],
        dilation=dilation,
    )
