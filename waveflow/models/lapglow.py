"""LapGlow: the flow runs on the coefficients of a lapped transform, at the mel's own frame rate."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from waveflow.audio.mel import MelConfig
from waveflow.bijections import AffineCoupling, Bijection, Chain, ConditionalScale, InvertibleConv1x1, LappedSqueeze
from waveflow.models.base import MelFlow
from waveflow.models.settings import checked
from waveflow.nn import FrameEncoder, WaveNet, stack_neighbours
from waveflow.nn.layers import zeroed
from waveflow.nn.modules import of_kind


@dataclass
class LapGlowConfig:
    """The house model's base size unless told otherwise.

    Attributes:
        mel: The mel contract; one vector of bands per mel frame, so its hop_length must be even.
        n_flows: Steps of 1x1 convolution and coupling.
        window: Window of the lapped transform, `sine` or `kbd`.
        n_channels: Width of each WaveNet.
        kernel_size: Taps of each dilated convolution.
        dilations: Dilation of each layer, in frames.
        max_log_s: Bound of a coupling's log-scale; None leaves it free.
        n_encoded: Width of the mel's encoder, which all couplings share; 0 tells them the frames as they are.
        n_encoder_blocks: Its residual blocks.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    n_flows: int = 9
    window: str = "sine"
    n_channels: int = 192
    kernel_size: int = 3
    dilations: list[int] = field(default_factory=lambda: [1, 2, 4])
    max_log_s: float | None = 2.0
    n_encoded: int = 192
    n_encoder_blocks: int = 3
    sigma: float = 0.8


class LapGlow(MelFlow):
    """Glow steps over the bands of an orthonormal lapped transform (MDCT).

    A frame of `hop_length` samples becomes as many frequency bands, critically sampled and with log_det 0. A gain per
    band, told by the mel, whitens them; then come dense 1x1 convolutions and affine couplings whose WaveNets run at
    the frame rate. Block `f` of samples lies between the centres of mel frames `f` and `f + 1`, so that it is told
    the four frames from `f - 1` to `f + 2`, or what an encoder makes of them.

    The matrices start as permutations under which every coupling sees each second band of the transform itself, of
    which the next one sees the others, by single bands, pairs, fours and eights in turn: neighbouring bands tell more
    of each other than random mixtures of all do.

    Couplings and 1x1 convolutions as in Glow (arXiv:1807.03039) and WaveGlow (arXiv:1811.00002).
    """

    config: LapGlowConfig

    def __init__(self, config: LapGlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or LapGlowConfig(), zero=("n_encoded", "n_encoder_blocks"))
        n_bands = self.n_group = config.mel.hop_length
        n_features, self.encoder = 4 * config.mel.n_mels, None
        if config.n_encoded:
            self.encoder = mel_encoder(config.mel, config.n_encoded, config.n_encoder_blocks)
            n_features = config.n_encoded
        to_gain = zeroed(nn.Conv1d(n_features, n_bands, 1))
        steps: list[Bijection] = [LappedSqueeze(n_bands, config.window), ConditionalScale(to_gain)]
        order = torch.arange(n_bands)
        for number in range(config.n_flows):
            following = split_order(n_bands, number)
            mix = InvertibleConv1x1(n_bands, torch.eye(n_bands)[following] @ torch.eye(n_bands)[order].T)
            order = following
            wavenet = WaveNet(
                n_bands // 2,
                n_bands,
                context_channels=n_features,
                n_channels=config.n_channels,
                n_layers=len(config.dilations),
                kernel_size=config.kernel_size,
                dilations=config.dilations,
                weight_norm=False,
            )
            steps.append(Chain([mix, AffineCoupling(wavenet, max_log_s=config.max_log_s)]))
        self.flow = Chain(steps)

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: every flow adds its WaveNet's, the mel two frames."""
        frames = sum(net.receptive_field for net in of_kind(self.flow, WaveNet))
        return (frames + 3) * self.n_group

    def features(self, mel: Tensor) -> Tensor:
        """Each frame with one before and two after it, encoded where the model has an encoder: `(B, C, F)`."""
        frames = stack_neighbours(mel, 1, 2)
        return frames if self.encoder is None else self.encoder(frames.mT).mT


def mel_encoder(config: MelConfig, n_channels: int, n_blocks: int) -> FrameEncoder:
    """An encoder of four frames, to which silence is -2 and a mel of full scale about 2, whatever the convention."""
    silence, loud = config.normalized(config.log_of(config.clip)), config.normalized(config.log_of(1.0))
    repeats = 4 * config.n_mels // len(silence) if len(silence) > 1 else 1
    centre = [(low + high) / 2 for low, high in zip(silence, loud)] * repeats
    spread = [(high - low) / 4 for low, high in zip(silence, loud)] * repeats
    return FrameEncoder(4 * config.n_mels, n_channels, n_blocks, centre=centre, spread=spread)


def split_order(n_bands: int, number: int) -> Tensor:
    """The order in which the coupling of that number first sees the bands: those that pass, then those that change."""
    width = 2 ** (number // 2 % 4)
    passes = torch.arange(n_bands) // width % 2 == number % 2
    return torch.cat([passes.nonzero()[:, 0], (~passes).nonzero()[:, 0]])
