"""The inverse lapped transform by a CUDA kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow_cuda.library import library, wide


def lapped_inverse(
    bands: Tensor, log_gain: Tensor | None, lengths: Tensor, dct: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """As `waveflow.ops.lapped_inverse.lapped_inverse`."""
    batch, n_frames, m = bands.shape
    audio = torch.empty(batch, n_frames * m, dtype=torch.float32, device=bands.device)
    bands = wide(bands, "bands").contiguous()
    log_gain = None if log_gain is None else log_gain.contiguous()
    library().call(
        "lapped",
        bands.device,
        bands=bands,
        log_gain=wide(log_gain, "log_gain"),
        lengths=lengths,
        dct=wide(dct, "dct"),
        cos=cos,
        sin=sin,
        audio=audio,
        batch=batch,
        n_frames=n_frames,
        n_bands=m,
        half=len(cos),
    )
    return audio
