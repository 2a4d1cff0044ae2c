"""Everything between two WaveNets of an inverse: the coupling undone, the channels mixed, the next one started."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.ops.dispatch import implementation


@torch.library.custom_op("waveflow::coupling_inverse", mutates_args=("latent_out", "hidden_out"))
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
    backend: str = "reference",
) -> None:
    """Undo an affine coupling, then apply one matrix.

        v = [early, x_a, (x_b - t) exp(-log_s)],   (x_a, x_b) = latent,   (t, raw) = parameters
        log_s = max_log_s tanh(raw / max_log_s), or raw where max_log_s is 0
        [latent_out, hidden_out] = M v + [0, s]

    M holds the inverse of the channel mixing, the next coupling's order of its halves, and below them, where the next
    WaveNet's hidden state is wanted, its first projection of them: all that is linear between two WaveNets.

    Args:
        latent: x_a and x_b, float32 `(B, L, n)`, any strides but the last.
        parameters: float32 `(B, L, n)`.
        early: float32 `(B, L, e)`, any strides but the last: channels that join here; None for none.
        matrix: M, float32 `(e + n, e + n)`, or `(e + n + C, e + n)` with a hidden state.
        hidden_bias: s, float32 `(C,)`; None without a hidden state.
        lengths: int32 `(B,)`, positions of each item.
        latent_out: float32 `(B, L, e + n)`, another tensor; zero beyond each length.
        hidden_out: `(B, F, P C + K)` as in `waveflow.ops.wavenet_layer`; None without a hidden state.
        max_log_s: Bound of log_s, 0 for none.
        backend: Whose kernel.
    """
    implementation("coupling_inverse", backend)(
        latent,
        parameters,
        early,
        matrix,
        hidden_bias,
        lengths,
        latent_out,
        hidden_out,
        max_log_s,
    )


@coupling_inverse.register_fake
def _(*_: object) -> None:
    """The results' shapes are those of the tensors that receive them."""
