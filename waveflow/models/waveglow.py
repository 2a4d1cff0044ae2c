"""WaveGlow: groups of samples as channels, one flow after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.bijections import AffineCoupling, Chain, EarlyOutputs, InvertibleConv1x1, Squeeze
from waveflow.models.base import MelFlow
from waveflow.models.settings import checked
from waveflow.nn import MelUpsample, WaveNet
from waveflow.nn.modules import of_kind


@dataclass
class WaveGlowConfig:
    """NVIDIA's published model unless told otherwise; the paper's WaveNets have 512 residual and 256 skip channels.

    Attributes:
        mel: The mel contract.
        n_flows: Steps of 1x1 convolution and coupling.
        n_group: Samples that become one vector; divides `mel.hop_length`.
        n_early_every: Channels leave for the latent before every so many steps.
        n_early_size: How many leave each time.
        n_channels: Width of each WaveNet.
        n_layers: Layers of each WaveNet; dilations double from 1.
        kernel_size: Taps of each dilated convolution.
        upsample_kernel_size: Taps of the mel upsampling, in samples; four hops unless given.
        swap_halves: In every other step the second half passes and the first changes, as in the earliest release.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    n_flows: int = 12
    n_group: int = 8
    n_early_every: int = 4
    n_early_size: int = 2
    n_channels: int = 256
    n_layers: int = 8
    kernel_size: int = 3
    upsample_kernel_size: int | None = None
    swap_halves: bool = False
    sigma: float = 0.6


class WaveGlow(MelFlow):
    """A flow of invertible 1x1 convolutions and affine couplings over groups of samples.

    Source: WaveGlow (arXiv:1811.00002).

    Raises:
        ValueError: The early outputs leave an odd number of channels, or none.
    """

    config: WaveGlowConfig

    def __init__(self, config: WaveGlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or WaveGlowConfig(), zero=("n_early_every", "n_early_size"))
        self.n_group = config.n_group
        mel = config.mel
        self.upsample = MelUpsample(mel.n_mels, mel.hop_length, config.n_group, config.upsample_kernel_size)

        early = early_sizes(config)
        steps, n_left = [], config.n_group
        for k, n_early in enumerate(early):
            n_left -= n_early
            wavenet = WaveNet(
                n_left // 2,
                n_left,
                context_channels=mel.n_mels * config.n_group,
                n_channels=config.n_channels,
                n_layers=config.n_layers,
                kernel_size=config.kernel_size,
            )
            coupling = AffineCoupling(wavenet, swap=config.swap_halves and k % 2 == 1)
            steps.append(Chain([InvertibleConv1x1(n_left), coupling]))
        self.flow = Chain([Squeeze(config.n_group), EarlyOutputs(steps, early)])

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: every flow adds its WaveNet's, the mel four hops."""
        groups = sum(net.receptive_field for net in of_kind(self.flow, WaveNet))
        return groups * self.n_group + self.upsample.conv.kernel_size[0]

    def features(self, mel: Tensor) -> Tensor:
        """Upsampled, a vector for each group of samples: `(B, n_mels * n_group, F * hop_length // n_group)`."""
        return self.upsample(mel)


def early_sizes(config: Any) -> list[int]:
    """For each step of a WaveGlow-like config, how many channels become latent before it.

    Raises:
        ValueError: They leave an odd number of channels, or none, or come before every zeroth step.
    """
    if config.n_early_every < 1:
        raise ValueError(
            f"n_early_every is {config.n_early_every}, expected at least 1; "
            f"for no early outputs say n_early_every={config.n_flows}, n_flows itself"
        )
    early = [config.n_early_size if k and k % config.n_early_every == 0 else 0 for k in range(config.n_flows)]
    left = config.n_group - sum(early)
    if left < 2 or config.n_group % 2 or config.n_early_size % 2:
        raise ValueError(
            f"n_group={config.n_group} less {len(list(filter(None, early)))} early outputs of "
            f"n_early_size={config.n_early_size} leaves {left} channels; all three must be even and positive"
        )
    return early
