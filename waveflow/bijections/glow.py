"""Glow: activation normalisation, a 1x1 convolution and a coupling, again and again, at several scales."""

from __future__ import annotations

from torch import Tensor, nn

from waveflow.bijections.actnorm import ActNorm
from waveflow.bijections.base import Bijection, Chain, EarlyOutputs, zero_log_det
from waveflow.bijections.coupling import AffineCoupling
from waveflow.bijections.inverse import Inverse
from waveflow.bijections.linear import InvertibleConv1x1, InvertibleConv1x1LU
from waveflow.nn.context import Context
from waveflow.nn.convnet import ConvNet
from waveflow.settings import require_counts


class Squeeze2d(Bijection):
    """Stack each 2 x 2 square of pixels as channels: `z[b, 4 c + 2 i + j, h, w] = x[b, c, 2 h + i, 2 w + j]`.

    Source: RealNVP (arXiv:1605.08803), section 3.6.
    """

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, H, W)` to `(B, 4 C, H // 2, W // 2)`.

        Raises:
            ValueError: A side is odd, or x is no image.
        """
        if x.dim() != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"image has shape {tuple(x.shape)}, expected (B, C, H, W) with even sides; pad or crop it")
        batch, c, height, width = x.shape
        squares = x.reshape(batch, c, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return squares.reshape(batch, 4 * c, height // 2, width // 2), zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        batch, c, height, width = z.shape
        squares = z.reshape(batch, c // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
        return squares.reshape(batch, c // 4, 2 * height, 2 * width)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z), zero_log_det(z)


class GlowStep(Chain):
    """Normalise the channels, mix them, then let one half tell the scale and shift of the other.

    Source: Glow (arXiv:1807.03039), table 1, with the other half passing.

    Args:
        n_channels: Channels of the data, even.
        conditioner: Maps half of the channels, and the context, to as many channels as the data has.
        max_log_s: Bound of the coupling's log-scale; None leaves it free.
        lu: Parametrise the 1x1 convolution by its LU factors.
    """

    def __init__(
        self, n_channels: int, conditioner: nn.Module, *, max_log_s: float | None = None, lu: bool = False
    ) -> None:
        mixing = InvertibleConv1x1LU(n_channels) if lu else InvertibleConv1x1(n_channels)
        super().__init__([ActNorm(n_channels), mixing, AffineCoupling(conditioner, max_log_s=max_log_s)])


class Glow(Chain):
    """The multi-scale flow for images: at each scale a squeeze, Glow steps, and half of the channels leave.

    The latent has the image's shape: what left at a scale lies, unsqueezed, in that scale's first channels.

    Source: Glow (arXiv:1807.03039), figure 2b; log-scales are bounded by 3 here.

    Args:
        n_channels: Channels of the image, C.
        n_scales: Scales; the image's sides divide by 2 to that power.
        n_flows: Glow steps at each scale.
        context_channels: Numbers of the context's features, 0 for none.
        n_hidden: Width of each coupling's network.
    """

    def __init__(
        self,
        n_channels: int,
        n_scales: int = 2,
        n_flows: int = 8,
        *,
        context_channels: int = 0,
        n_hidden: int = 64,
    ) -> None:
        require_counts(n_channels=n_channels, n_scales=n_scales, n_flows=n_flows, n_hidden=n_hidden)
        wide = 4 * n_channels
        steps: list[Bijection] = [Squeeze2d()]
        for _ in range(n_flows):
            network = ConvNet(wide // 2, wide, context_channels=context_channels, n_channels=n_hidden)
            steps.append(GlowStep(wide, network, max_log_s=3.0))
        if n_scales > 1:
            rest = Glow(wide // 2, n_scales - 1, n_flows, context_channels=context_channels, n_hidden=n_hidden)
            steps.append(EarlyOutputs([rest], [wide // 2]))
        super().__init__([*steps, Inverse(Squeeze2d())])
