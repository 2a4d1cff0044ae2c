"""SqueezeWave: WaveGlow over long vectors at a low rate, with depthwise-separable conditioners."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.bijections import AffineCoupling, Chain, EarlyOutputs, InvertibleConv1x1, Squeeze
from waveflow.models.base import MelFlow
from waveflow.models.settings import checked
from waveflow.models.waveglow import early_sizes
from waveflow.nn.grouping import require_groups
from waveflow.nn.modules import of_kind
from waveflow.nn.separable import SeparableWaveNet


@dataclass
class SqueezeWaveConfig:
    """The paper's largest model unless told otherwise.

    Attributes:
        mel: The mel contract.
        n_flows: Steps of 1x1 convolution and coupling.
        n_group: Samples that become one vector; divides `mel.hop_length`.
        n_early_every: Channels leave for the latent before every so many steps.
        n_early_size: How many leave each time.
        n_channels: Width of each conditioner.
        n_layers: Layers of each conditioner.
        kernel_size: Taps of each depthwise convolution.
        batch_norm: Whether the layers normalise; false for weights whose normalisation was folded away.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    n_flows: int = 12
    n_group: int = 128
    n_early_every: int = 2
    n_early_size: int = 16
    n_channels: int = 256
    n_layers: int = 8
    kernel_size: int = 3
    batch_norm: bool = True
    sigma: float = 0.6


class SqueezeWave(MelFlow):
    """WaveGlow's flow over groups of 128 or 256 samples, with conditioners that are cheap at that width.

    A group of samples belongs to one mel frame, whose conditioning is computed once, at the frame rate.

    Source: SqueezeWave (arXiv:2001.05685).

    Raises:
        ValueError: The early outputs leave an odd number of channels, or none; n_group does not divide the hop.
    """

    config: SqueezeWaveConfig

    def __init__(self, config: SqueezeWaveConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or SqueezeWaveConfig(), zero=("n_early_every", "n_early_size"))
        self.n_group = config.n_group
        mel = config.mel
        require_groups(mel.hop_length, config.n_group)
        steps, n_left, early = [], config.n_group, early_sizes(config)
        for n_early in early:
            n_left -= n_early
            conditioner = SeparableWaveNet(
                n_left // 2,
                n_left,
                context_channels=mel.n_mels,
                n_channels=config.n_channels,
                n_layers=config.n_layers,
                kernel_size=config.kernel_size,
                repeat=mel.hop_length // config.n_group,
                batch_norm=config.batch_norm,
            )
            steps.append(Chain([InvertibleConv1x1(n_left), AffineCoupling(conditioner)]))
        self.flow = Chain([Squeeze(config.n_group), EarlyOutputs(steps, early)])

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: each flow adds its conditioner's, the mel a hop."""
        groups = sum(net.receptive_field for net in of_kind(self.flow, SeparableWaveNet))
        return groups * self.n_group + self.mel_config.hop_length

    def features(self, mel: Tensor) -> Tensor:
        """The mel itself, at the frame rate: the conditioners repeat what they make of it."""
        return mel
