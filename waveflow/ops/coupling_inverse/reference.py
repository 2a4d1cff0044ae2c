"""The inverse of a coupling in plain PyTorch: the truth for every backend."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """As `waveflow.ops.coupling_inverse.coupling_inverse`."""
    x_a, x_b = latent.chunk(2, dim=2)
    t, log_s = parameters.chunk(2, dim=2)
    if max_log_s:
        log_s = max_log_s * torch.tanh(log_s / max_log_s)
    v = torch.cat([x_a, (x_b - t) * torch.exp(-log_s)], dim=2)
    v = v if early is None else torch.cat([early, v], dim=2)
    inside = (torch.arange(v.shape[1], device=v.device) < lengths[:, None])[..., None]
    width = matrix.shape[1]
    latent_out.copy_(torch.where(inside, v @ matrix[:width].mT, 0))
    if hidden_out is not None:
        assert hidden_bias is not None
        hidden = torch.where(inside, v @ matrix[width:].mT + hidden_bias, 0)
        n_positions = v.shape[1] // hidden_out.shape[1]
        state = hidden_out[..., : n_positions * hidden.shape[2]].unflatten(2, (n_positions, -1))
        state.copy_(hidden.view(state.shape))
