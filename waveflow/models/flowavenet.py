"""FloWaveNet: blocks of couplings at ever lower rates."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.bijections import (
    ActNorm,
    AdditiveCoupling,
    Bijection,
    Chain,
    MultiScale,
    NormalizingCoupling,
    Permutation,
    Scale,
    Squeeze,
)
from waveflow.models.base import MelFlow
from waveflow.models.settings import checked
from waveflow.nn.grouping import group_samples
from waveflow.nn.modules import of_kind
from waveflow.nn.scaled_wavenet import ContextHalves, ScaledWaveNet
from waveflow.nn.upsample2d import MelUpsample2d, check_factors

PRIOR_LAYERS = 2


@dataclass
class FloWaveNetConfig:
    """The paper's model unless told otherwise.

    Attributes:
        mel: The mel contract; its hop_length is a multiple of `2 ** n_blocks`.
        n_blocks: Context blocks; each begins by halving the rate.
        n_flows: Flows in each block: activation normalisation, coupling, exchange of the halves.
        n_layers: Layers of each coupling's WaveNet; dilations double from 1.
        n_channels: Width of each WaveNet.
        n_blocks_per_split: After so many blocks, half of the channels leave for the latent.
        kernel_size: Taps of each dilated convolution.
        affine: Whether couplings scale as well as shift.
        upsample_factors: Of the mel upsampling, whose product is `mel.hop_length`; the two closest unless given.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("flowavenet"))
    n_blocks: int = 8
    n_flows: int = 6
    n_layers: int = 2
    n_channels: int = 256
    n_blocks_per_split: int = 4
    kernel_size: int = 3
    affine: bool = True
    upsample_factors: list[int] | None = None
    sigma: float = 0.8


class FloWaveNet(MelFlow):
    """Context blocks of squeeze, activation normalisation, coupling and exchange of halves, over several rates.

    A coupling is told one half of the mel's channels, and each next one the other half, which goes on from block to
    block. So inverse undoes forward for odd numbers of flows too.

    Source: FloWaveNet (arXiv:1811.02155).

    Raises:
        ValueError: The hop is no multiple of the group that the blocks make.
    """

    frames_ahead = 1

    config: FloWaveNetConfig

    def __init__(self, config: FloWaveNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or FloWaveNetConfig())
        self.n_group = 2**config.n_blocks
        mel = config.mel
        self.upsample = MelUpsample2d(check_factors(config.upsample_factors, mel.hop_length, self.n_group))
        scales, channels, context_channels, turn = [], 1, mel.n_mels, 0
        for block in range(1, config.n_blocks + 1):
            channels, context_channels = 2 * channels, 2 * context_channels
            steps: list[Bijection] = []
            for _ in range(config.n_flows):
                net = self._wavenet(channels, context_channels // 2, config.n_layers, doubled=config.affine)
                coupling = NormalizingCoupling if config.affine else AdditiveCoupling
                exchange = Permutation([*range(channels // 2, channels), *range(channels // 2)])
                steps += [ActNorm(channels, correction=1), coupling(ContextHalves(net, turn)), exchange]
                turn = 1 - turn
            prior = None
            if block % config.n_blocks_per_split == 0 and block < config.n_blocks:
                net = self._wavenet(channels, context_channels, PRIOR_LAYERS, doubled=True)
                prior = NormalizingCoupling(ContextHalves(net, turn, 1 - turn))
            scales.append(Scale(2, Chain(steps), prior))
            channels = channels if prior is None else channels // 2
        self.flow = Chain([Squeeze(self.n_group), MultiScale(scales)])

    def _wavenet(self, channels: int, context_channels: int, n_layers: int, *, doubled: bool) -> ScaledWaveNet:
        return ScaledWaveNet(
            channels // 2,
            channels if doubled else channels // 2,
            context_channels=context_channels,
            n_channels=self.config.n_channels,
            n_layers=n_layers,
            kernel_size=self.config.kernel_size,
        )

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: each coupling adds its WaveNet's at its own rate."""
        samples, rate = 0, 1
        for scale in of_kind(self.flow, Scale):
            rate *= scale.factor
            samples += rate * sum(net.receptive_field for net in of_kind(scale, ScaledWaveNet))
        return samples + self.n_group + 2 * self.mel_config.hop_length

    def features(self, mel: Tensor) -> Tensor:
        """Upsampled, a vector for each group of samples: `(B, n_mels * n_group, F * hop_length // n_group)`."""
        return group_samples(self.upsample(mel), self.n_group)

    def features_of_padded(self, mel: Tensor, n_frames: Tensor) -> Tensor:
        """As `features`, of items with `n_frames` each: none sees what pads another."""
        return group_samples(self.upsample(mel, n_frames), self.n_group)
