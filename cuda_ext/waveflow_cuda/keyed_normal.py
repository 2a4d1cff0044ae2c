"""Keyed noise by a CUDA kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow_cuda.library import library


def keyed_normal(seeds: Tensor, start: int, n: int) -> Tensor:
    """As `waveflow.ops.keyed_normal.keyed_normal`."""
    out = torch.empty(seeds.shape[0], n, dtype=torch.float32, device=seeds.device)
    if n and len(seeds):
        seeds = seeds.contiguous()
        library().call("normal", seeds.device, seeds=seeds, out=out, start=start, n=n, batch=len(seeds))
    return out
