"""The inverse of a coupling by a CUDA kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow_cuda.library import half_precision, library, wide


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
    """As `waveflow.ops.coupling_inverse.coupling_inverse`, for a hidden state in half precision."""
    batch, n_vectors, n = latent.shape
    width = matrix.shape[1]
    n_frames, row = (n_vectors, 0) if hidden_out is None else hidden_out.shape[1:]
    library().call(
        "coupling",
        latent.device,
        torch.float16 if hidden_out is None else half_precision(hidden_out.dtype),
        latent=wide(latent, "latent"),
        parameters=wide(parameters, "parameters"),
        early=wide(early, "early"),
        matrix=wide(matrix, "matrix"),
        hidden_bias=hidden_bias,
        lengths=lengths,
        latent_out=wide(latent_out, "latent_out"),
        hidden_out=hidden_out,
        stride_zb=latent.stride(0),
        stride_zl=latent.stride(1),
        stride_eb=0 if early is None else early.stride(0),
        stride_el=0 if early is None else early.stride(1),
        batch=batch,
        n_vectors=n_vectors,
        n_frames=n_frames,
        n=n,
        n_early=width - n,
        n_hidden=matrix.shape[0] - width,
        row_size=row,
        n_positions=n_vectors // n_frames,
        max_log_s=max_log_s,
    )
