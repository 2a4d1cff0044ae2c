"""WaveFlow: the waveform as a matrix of few rows, autoregressive over the rows and parallel along them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.bijections import Chain, HeightAutoregressive, Permutation, Squeeze
from waveflow.models.base import MelFlow
from waveflow.models.settings import checked
from waveflow.nn.grouping import group_samples
from waveflow.nn.modules import of_kind
from waveflow.nn.upsample2d import MelUpsample2d, check_factors
from waveflow.nn.wavenet2d import WaveNet2D


@dataclass
class WaveFlowConfig:
    """The paper's smallest model unless told otherwise.

    Attributes:
        mel: The mel contract.
        n_flows: Autoregressive steps.
        n_group: Rows of the matrix, its height: samples that become one column; divides `mel.hop_length`.
        n_channels: Width of each WaveNet.
        n_layers: Layers of each WaveNet; dilations over the columns double from 1.
        n_layers_per_cycle: Layers after which the doubling dilations over the rows start again at 1.
        kernel_size: Taps of each dilated convolution, over rows and columns.
        permutation: Of the rows between steps: `reverse` always, or `bipartite`, which in the second half of the
            steps reverses the upper and the lower half of the rows each by itself.
        upsample_factors: Of the mel upsampling, whose product is `mel.hop_length`; the two closest unless given.
        sigma: Standard deviation of the latent drawn for synthesis.
    """

    mel: MelConfig = field(default_factory=lambda: MelConfig.preset("nvidia"))
    n_flows: int = 8
    n_group: int = 16
    n_channels: int = 64
    n_layers: int = 8
    n_layers_per_cycle: int = 1
    kernel_size: int = 3
    permutation: str = "bipartite"
    upsample_factors: list[int] | None = None
    sigma: float = 0.8


class WaveFlow(MelFlow):
    """Steps of an autoregressive flow over the rows of the squeezed waveform, in an order that changes.

    The rows stay where they are and each step takes them in its own order, mel rows alike, which is the same as
    permuting both between the steps; the last permutations are made up for at the end. So inverse undoes forward
    for any number of steps.

    Source: WaveFlow (arXiv:1912.01219).

    Raises:
        ValueError: An unknown permutation, or a height that it cannot halve or the hop is no multiple of.
    """

    config: WaveFlowConfig
    frames_ahead = 1

    def __init__(self, config: WaveFlowConfig | None = None) -> None:
        super().__init__()
        self.config = config = checked(config or WaveFlowConfig())
        self.n_group = config.n_group
        mel = config.mel
        self.upsample = MelUpsample2d(check_factors(config.upsample_factors, mel.hop_length, config.n_group))
        dilations = [2 ** (i % config.n_layers_per_cycle) for i in range(config.n_layers)]
        steps, order = [], list(range(config.n_group))
        for permutation in row_permutations(config.permutation, config.n_flows, config.n_group):
            wavenet = WaveNet2D(
                1,
                2,
                context_channels=mel.n_mels,
                n_channels=config.n_channels,
                n_layers=config.n_layers,
                kernel_size=config.kernel_size,
                height_dilations=dilations,
            )
            steps.append(HeightAutoregressive(wavenet, order))
            order = [order[i] for i in permutation]
        self.flow = Chain([Squeeze(config.n_group), *steps, Permutation(order)])

    @property
    def receptive_field(self) -> int:
        """Samples on each side that can reach an output sample: each flow adds its WaveNet's, the mel two hops."""
        columns = sum(net.receptive_field for net in of_kind(self.flow, WaveNet2D))
        return (columns + 1) * self.n_group + 2 * self.mel_config.hop_length

    def features(self, mel: Tensor) -> Tensor:
        """Upsampled, a vector for each group of samples: `(B, n_mels * n_group, F * hop_length // n_group)`."""
        return group_samples(self.upsample(mel), self.n_group)

    def features_of_padded(self, mel: Tensor, n_frames: Tensor) -> Tensor:
        """As `features`, of items with `n_frames` each: none sees what pads another."""
        return group_samples(self.upsample(mel, n_frames), self.n_group)


def row_permutations(kind: str, n_flows: int, height: int) -> list[list[int]]:
    """For each step, the order in which the rows leave it.

    Source: the permutations of height in WaveFlow (arXiv:1912.01219), as in the code of PaddlePaddle's Parakeet.

    Args:
        kind: `reverse` (all rows in every step) or `bipartite` (all rows in the first half of the steps, then each half
            of the rows by itself).
        n_flows: Number of steps.
        height: Number of rows.

    Raises:
        ValueError: No permutation is called so, or a bipartite one was asked of an odd number of rows.
    """
    rows = list(range(height))
    if kind == "reverse":
        return [rows[::-1]] * n_flows
    if kind != "bipartite":
        raise ValueError(f"permutation is {kind!r}, expected 'reverse' or 'bipartite'")
    if height % 2:
        raise ValueError(f"n_group={height} rows have no halves; choose an even n_group or permutation='reverse'")
    half = height // 2
    halves = rows[:half][::-1] + rows[half:][::-1]
    return [rows[::-1] if k < n_flows // 2 else halves for k in range(n_flows)]
