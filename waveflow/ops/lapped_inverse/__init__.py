"""From the bands of a lapped transform to samples."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.ops.dispatch import implementation


@torch.library.custom_op("waveflow::lapped_inverse", mutates_args=())
def lapped_inverse(
    bands: Tensor,
    log_gain: Tensor | None,
    lengths: Tensor,
    dct: Tensor,
    cos: Tensor,
    sin: Tensor,
    backend: str = "reference",
) -> Tensor:
    """Undo `waveflow.bijections.LappedSqueeze`, and before it a gain of each band.

        frame_f = D (exp(-log_gain_f) bands_f),   D symmetric
        x_f[j] = cos_j frame_f[j] - sin_j frame_{f-1}[M - 1 - j]
        x_f[M - 1 - j] = cos_j frame_f[M - 1 - j] + sin_j frame_{f+1}[j]

    for j below the half overlap, where both frames exist; the other samples are those of the frame.

    Args:
        bands: float32 `(B, F, M)`.
        log_gain: float32 `(B, F, M)`, None for no gain.
        lengths: int32 `(B,)`, frames of each item.
        dct: D, float32 `(M, M)`, the orthonormal DCT-IV.
        cos: float32 `(H,)`, H at most M / 2.
        sin: As cos.
        backend: Whose kernel.

    Returns:
        Audio, float32 `(B, F * M)`, zero beyond each length.
    """
    return implementation("lapped_inverse", backend)(bands, log_gain, lengths, dct, cos, sin)


@lapped_inverse.register_fake
def _(
    bands: Tensor,
    log_gain: Tensor | None,
    lengths: Tensor,
    dct: Tensor,
    cos: Tensor,
    sin: Tensor,
    backend: str = "reference",
) -> Tensor:
    return bands.new_empty(bands.shape[0], bands.shape[1] * bands.shape[2])
