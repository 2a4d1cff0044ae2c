"""The other way round."""

from __future__ import annotations

from torch import Tensor

from waveflow.bijections.base import Bijection
from waveflow.nn.context import Context


class Inverse(Bijection):
    """A bijection with data and latent exchanged: what was its inverse becomes its forward pass.

    Makes the cheap direction of a family the one that samples, as variational inference needs it.

    Args:
        bijection: Whose direction is turned.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse_and_log_det(x, context)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self.bijection(z, context)[0]

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.bijection(z, context)
