"""RealNVP: affine couplings over masks, for vectors of any size and for images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from waveflow.bijections.actnorm import ActNorm
from waveflow.bijections.base import Bijection, Chain, EarlyOutputs, sum_log_det
from waveflow.bijections.checks import require_shape_of
from waveflow.bijections.coupling import AffineCoupling
from waveflow.bijections.elementwise import AffineMap, Elementwise, per_number
from waveflow.bijections.glow import Squeeze2d
from waveflow.bijections.inverse import Inverse
from waveflow.nn.context import Context
from waveflow.nn.convnet import ConvNet
from waveflow.nn.mlp import MLP
from waveflow.settings import require_counts, require_lists_of_counts


class MaskedCoupling(Bijection):
    """Change the numbers outside a mask by an elementwise map that the numbers inside it decide.

        z = mask * x + (1 - mask) * map(x; conditioner(mask * x, context))

    Source: RealNVP (arXiv:1605.08803), section 3.4.

    Args:
        mask: True where a number passes; of an item's shape, or one that broadcasts to it.
        conditioner: Called as `conditioner(mask * x, context)`; gives P times x's channels, a parameter's channels
            together.
        elementwise: The map of one number, with P parameters.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, conditioner: nn.Module, elementwise: Elementwise) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.conditioner, self.elementwise = conditioner, elementwise

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, C, ...)` to the same shape.

        Raises:
            ValueError: The mask does not fit x's items.
        """
        z, log_s = self.elementwise.transform(x, self._parameters_of(x, context))
        return torch.where(self.mask, x, z), sum_log_det(log_s.masked_fill(self.mask, 0), context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return torch.where(self.mask, z, self.elementwise.invert(z, self._parameters_of(z, context))[0])

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        x, log_s = self.elementwise.invert(z, self._parameters_of(z, context))
        return torch.where(self.mask, z, x), sum_log_det(log_s.masked_fill(self.mask, 0), context)

    def _parameters_of(self, x: Tensor, context: Tensor | Context | None) -> Tensor:
        require_shape_of(x, self.mask)
        return per_number(self.conditioner(x * self.mask, context), self.elementwise.n_parameters).to(x.dtype)


class RealNVP(Chain):
    """Couplings that let every other number pass, odd and even places by turns.

    The networks have GELUs: SiLUs are nearly straight over the width of standardised data, and learn its shapes later;
    ReLUs learn shapes in the plane sooner still, but generalise worse from a few hundred vectors of a dozen numbers.

    Source: RealNVP (arXiv:1605.08803).

    Args:
        n_features: Numbers in a vector, at least 2.
        n_flows: Couplings.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each coupling's MLP.
        n_layers: Its hidden layers.
        elementwise: What a coupling does to a number; `AffineMap(max_log_s=3.0)` unless given.

    Raises:
        ValueError: There are fewer than two numbers.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 8,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
        elementwise: Elementwise | None = None,
    ) -> None:
        require_counts(n_features=n_features, n_flows=n_flows)
        if n_features < 2:
            raise ValueError(f"n_features is {n_features}, but a coupling needs one number to tell another; take MAF")
        elementwise = AffineMap(max_log_s=3.0) if elementwise is None else elementwise
        super().__init__(
            MaskedCoupling(
                torch.arange(n_features) % 2 == k % 2,
                MLP(
                    n_features,
                    n_features * elementwise.n_parameters,
                    context_channels=context_channels,
                    n_channels=n_channels,
                    n_layers=n_layers,
                    activation=nn.GELU,
                ),
                elementwise,
            )
            for k in range(n_flows)
        )


class ImageRealNVP(Chain):
    """The multi-scale flow for images: checkerboard couplings, a squeeze, channel couplings, a split.

    The latent has the image's shape.

    Source: RealNVP (arXiv:1605.08803), sections 3.6 and 3.7. ActNorm stands where the paper has batch normalisation,
    Glow's small networks where it has residual ones, and the last scale is like the others, where the paper has four
    checkerboard couplings alone.

    Args:
        shape: Channels, height and width; the sides divide by 2 to the power of n_scales.
        n_scales: Scales.
        n_flows: Couplings of each kind at each scale.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each coupling's network.

    Raises:
        ValueError: The sides cannot be halved so often.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_scales: int = 2,
        n_flows: int = 3,
        *,
        context_channels: int = 0,
        n_channels: int = 64,
    ) -> None:
        require_lists_of_counts(shape=shape)
        require_counts(n_scales=n_scales, n_flows=n_flows)
        c, height, width = shape
        if height % 2**n_scales or width % 2**n_scales:
            raise ValueError(
                f"shape is {tuple(shape)}, expected sides that divide by 2 to the power of n_scales={n_scales}; "
                "pad the images or take fewer scales"
            )
        elementwise = AffineMap(max_log_s=3.0)
        steps: list[Bijection] = []
        for k in range(n_flows):
            mask = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == k % 2
            network = ConvNet(c, 2 * c, context_channels=context_channels, n_channels=n_channels)
            steps += [ActNorm(c), MaskedCoupling(mask, network, elementwise)]
        steps.append(Squeeze2d())
        for k in range(n_flows):
            network = ConvNet(2 * c, 4 * c, context_channels=context_channels, n_channels=n_channels)
            steps += [ActNorm(4 * c), AffineCoupling(network, max_log_s=3.0, swap=k % 2 == 1)]
        if n_scales > 1:
            rest = ImageRealNVP(
                (2 * c, height // 2, width // 2),
                n_scales - 1,
                n_flows,
                context_channels=context_channels,
                n_channels=n_channels,
            )
            steps.append(EarlyOutputs([rest], [2 * c]))
        super().__init__([*steps, Inverse(Squeeze2d())])
