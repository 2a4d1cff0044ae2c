"""LapGlow: the flow runs on the coefficients of a lapped transform, at the mel's own frame rate."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from waveflow.audio.mel import MelConfig
from waveflow.bijections import AffineCoupling, Chain, ConditionalScale, InvertibleConv1x1, LappedSqueeze
from waveflow.models.base import MelFlow
from waveflow.nn import WaveNet, stack_neighbours


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
        max_log_s: Bound of a coupling's log-scale.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    n_flows: int = 8
    window: str = "sine"
    n_channels: int = 192
    kernel_size: int = 3
    dilations: list[int] = field(default_factory=lambda: [1, 2, 4])
    max_log_s: float = 2.0
    sigma: float = 0.8


class LapGlow(MelFlow):
    """Glow steps over the bands of an orthonormal lapped transform (MDCT).

    A frame of `hop_length` samples becomes as many frequency bands, critically sampled and with log_det 0. A gain per
    band, told by the mel, whitens them; then come dense 1x1 convolutions and affine couplings whose WaveNets run at
    the frame rate. Block `f` of samples lies between the centres of mel frames `f` and `f + 1`, so that it is told
    the four frames from `f - 1` to `f + 2`.

    Couplings and 1x1 convolutions as in Glow (arXiv:1807.03039) and WaveGlow (arXiv:1811.00002).
    """

    def __init__(self, config: LapGlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LapGlowConfig()
        n_bands = self.n_group = config.mel.hop_length
        n_features = 4 * config.mel.n_mels
        to_gain = nn.Conv1d(n_features, n_bands, 1)
        nn.init.zeros_(to_gain.weight)
        nn.init.zeros_(to_gain.bias)
        steps = [LappedSqueeze(n_bands, config.window), ConditionalScale(to_gain)]
        for _ in range(config.n_flows):
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
            steps.append(Chain([InvertibleConv1x1(n_bands), AffineCoupling(wavenet, max_log_s=config.max_log_s)]))
        self.flow = Chain(steps)

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: every flow adds its WaveNet's, the mel two frames."""
        frames = sum(coupling.conditioner.receptive_field for _, coupling in self.flow.steps[2:])
        return (frames + 3) * self.n_group

    def features(self, mel: Tensor) -> Tensor:
        return stack_neighbours(mel, 1, 2)
