"""Batch normalisation over the batch of all processes, on any device."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from waveflow.nn.separable import MaskedBatchNorm


class SyncedBatchNorm(MaskedBatchNorm):
    """`MaskedBatchNorm` whose statistics in training are those of the whole batch, so that several processes train as
    one does. Each process has the same share of it, without padding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.training or mask is not None or not dist.is_initialized():
            return super().forward(x, mask)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            count = dist.get_world_size() * x.shape[0] * x.shape[2]
            mean = all_reduce(wide.sum((0, 2))) / count
            centred = wide - mean[:, None]
            variance = all_reduce(centred.square().sum((0, 2))) / count
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (centred * scale[:, None] + self.bias[:, None]).to(x.dtype)


def sync_norms(model: nn.Module) -> None:
    """Let the batch normalisations of a model see the batch of all processes; weights and their names stay."""
    for module in model.modules():
        if type(module) is MaskedBatchNorm:
            module.__class__ = SyncedBatchNorm
