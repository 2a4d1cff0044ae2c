"""One layer of a WaveNet, from its hidden state to the next and to what it adds to the network's output.

Shapes and letters: `B` items, `F` frames, `P` positions of the flow in a frame (`L = F P`; position `l` is number
`l % P` of frame `l // P`), `C` channels, `K` features of a frame, `N` outputs of the whole network.

A hidden state is `(B, F, P C + K)`: for each frame the channels of its positions and then its features. So one tile
loader serves taps and features, and what conditions the network costs no memory of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.ops.dispatch import implementation


@torch.library.custom_op("waveflow::wavenet_layer", mutates_args=("hidden_out", "out"))
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
    backend: str = "reference",
) -> None:
    """Compute one layer.

        (a, b)_l = sum_k W_k h_{l + (k - taps // 2) dilation} + V_{l % P} f_{l // P} + c_{l % P}
        g = tanh(a) * sigmoid(b)
        hidden_out = h + R g + r,   out += E g

    V is the mel's upsampling and the conditioning projection in one, a map of a frame's features for each position;
    E is the layer's skip connection followed by the network's last projection.

    Args:
        hidden: h and f, `(B, F, P C + K)`, half precision or float32; h zero beyond each item's length.
        gate_weight: W and V as laid out by `packing.pack_gate`.
        gate_bias: c as laid out by `packing.pack_bias`, float32.
        mix_weight: R as laid out by `packing.pack_after`, from `(C, C)`; None in the last layer.
        mix_bias: r, float32 `(C,)`; None with `mix_weight`.
        end_weight: E as laid out by `packing.pack_after`, from `(N, C)`.
        end_bias: float32 `(N,)` with which `out` begins in the first layer; None to add to what `out` holds.
        lengths: int32 `(B,)`, positions of each item.
        hidden_out: As `hidden`, another tensor; its features are left alone, its h is zero beyond each length.
        out: float32 `(B, L, N)`; zero beyond each length.
        n_channels: C.
        dilation: Positions between taps.
        backend: Whose kernel.
    """
    implementation("wavenet_layer", backend)(
        hidden,
        gate_weight,
        gate_bias,
        mix_weight,
        mix_bias,
        end_weight,
        end_bias,
        lengths,
        hidden_out,
        out,
        n_channels,
        dilation,
    )


@torch.library.custom_op("waveflow::wavenet_first", mutates_args=("hidden_out", "out"))
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
    backend: str = "reference",
) -> None:
    """Compute the first layer from the latent, with the map that makes the hidden state folded into it.

    As `wavenet_layer` with `h = S x + s` for the first half x of the latent's channels; where that half is narrow,
    as in WaveGlow, `W S` is a fraction of W. x is seen as the sum of two numbers of the operands' type, so that it
    loses nothing.

    Args:
        latent: x and the half it will change, float32 `(B, L, 2 * half)`, any strides; anything beyond each length.
        hidden: For its features, as in `wavenet_layer`; its h is not read.
        first_weight: The gate's, as laid out by `packing.pack_first`.
        start_weight: The hidden state's, as laid out by `packing.pack_first`.
        gate_weight: V alone, as laid out by `packing.pack_told`.
        kernel_size: Taps.

    The other arguments are those of `wavenet_layer`.
    """
    implementation("wavenet_layer", backend, "wavenet_first")(
        latent,
        hidden,
        first_weight,
        start_weight,
        gate_weight,
        gate_bias,
        mix_weight,
        mix_bias,
        end_weight,
        end_bias,
        lengths,
        hidden_out,
        out,
        kernel_size,
        dilation,
    )


@wavenet_layer.register_fake
@wavenet_first.register_fake
def _(*_: object) -> None:
    """The results' shapes are those of the tensors that receive them."""
