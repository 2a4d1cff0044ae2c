"""From the mel's frame rate to the rate of the squeezed audio."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.nn.grouping import group_samples, require_groups
from waveflow.settings import require_counts


class MelUpsample(nn.Module):
    """Bring a mel to one vector per group of samples by a transposed convolution.

    Frame `f` reaches samples `f * hop` to `f * hop + kernel_size - 1`; what the last frames spill past `F * hop`
    samples is cut off. The samples of a group are then stacked as channels, sample index fastest.

    Source: NVIDIA's code of WaveGlow (arXiv:1811.00002); there the kernel is 1024 and the hop 256, here they are free.

    Args:
        n_mels: Mel bands.
        hop_length: Samples of a mel frame, a multiple of n_group.
        n_group: Samples of a group.
        kernel_size: Samples that a frame reaches, at least hop_length; 4 * hop_length unless given.

    Raises:
        ValueError: The kernel is shorter than a hop, or a hop is no whole number of groups.
    """

    def __init__(self, n_mels: int, hop_length: int, n_group: int, kernel_size: int | None = None) -> None:
        super().__init__()
        require_counts(n_mels=n_mels, hop_length=hop_length)
        kernel_size = 4 * hop_length if kernel_size is None else kernel_size
        require_counts(kernel_size=kernel_size)
        if kernel_size < hop_length:
            raise ValueError(
                f"the upsampling's kernel_size={kernel_size}, upsample_kernel_size of a model, is shorter than "
                f"hop_length={hop_length}: samples would go untold"
            )
        require_groups(hop_length, n_group)
        self.hop_length, self.n_group = hop_length, n_group
        self.conv = nn.ConvTranspose1d(n_mels, n_mels, kernel_size, stride=hop_length)

    def forward(self, mel: Tensor) -> Tensor:
        """Map `(B, n_mels, F)` to `(B, n_mels * n_group, F * hop_length // n_group)`."""
        samples = self.conv(mel)[..., : mel.shape[-1] * self.hop_length]
        return group_samples(samples, self.n_group)


def stack_neighbours(mel: Tensor, n_before: int, n_after: int) -> Tensor:
    """Stack each frame with its neighbours as channels; beyond the ends the outermost frame repeats.

    `(B, n_mels, F)` to `(B, (n_before + 1 + n_after) * n_mels, F)`, earliest neighbour first.
    """
    padded = F.pad(mel, (n_before, n_after), mode="replicate")
    n_frames = mel.shape[-1]
    return torch.cat([padded[..., i : i + n_frames] for i in range(n_before + 1 + n_after)], dim=1)
