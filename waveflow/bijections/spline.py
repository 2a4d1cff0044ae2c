"""Rational-quadratic splines: monotone maps of an interval, with identity outside."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveflow.bijections.autoregressive import MAF
from waveflow.bijections.base import Chain, widened
from waveflow.bijections.coupling import Coupling
from waveflow.bijections.elementwise import Elementwise, per_number
from waveflow.bijections.realnvp import RealNVP
from waveflow.settings import require_counts, require_positive


class SplineMap(Elementwise):
    """A monotone rational-quadratic spline on [-bound, bound], the identity outside.

    Between knots `(x_k, y_k)` and `(x_{k+1}, y_{k+1})` with derivatives d at them, and s the slope of their chord,

        z = y_k + h (s t^2 + d_k t (1 - t)) / (s + (d_{k+1} + d_k - 2 s) t (1 - t)),    t = (x - x_k) / w

    with w and h the bin's width and height. The inverse solves a quadratic equation. The outermost derivatives are 1,
    so that the map is smooth across the bounds. Parameters: a width for each bin, a height for each, a derivative for
    each inner knot.

    Source: the monotonic rational-quadratic transforms of neural spline flows (arXiv:1906.04032).

    Args:
        n_bins: Bins, K.
        bound: Half the length of the interval.
        min_size: Least width and height of a bin, as a fraction of the interval.
        min_slope: Least derivative at a knot.

    Raises:
        ValueError: K bins of least size do not fit, or a setting is out of its range.
    """

    def __init__(self, n_bins: int = 8, bound: float = 5.0, min_size: float = 1e-3, min_slope: float = 1e-3) -> None:
        super().__init__()
        require_counts(n_bins=n_bins)
        require_positive(bound=bound, min_size=min_size, min_slope=min_slope)
        if min_slope >= 1:
            raise ValueError(f"min_slope is {min_slope}, expected less than 1, the slope of the identity")
        if n_bins * min_size >= 1:
            raise ValueError(f"n_bins={n_bins} bins of min_size={min_size} do not fit; lower one of them")
        self.n_bins, self.bound, self.min_size, self.min_slope = n_bins, bound, min_size, min_slope
        self.n_parameters = 3 * n_bins - 1

    def knots(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The knots' places, values and derivatives, each `(..., K + 1)`."""
        widths, heights, slopes = parameters.split([self.n_bins, self.n_bins, self.n_bins - 1], dim=-1)
        free = 1 - self.min_slope
        slopes = self.min_slope + F.softplus(slopes + math.log(math.expm1(free)))
        return self._places(widths), self._places(heights), F.pad(slopes, (1, 1), value=1.0)

    def _places(self, raw: Tensor) -> Tensor:
        sizes = self.min_size + (1 - self.n_bins * self.min_size) * raw.softmax(-1)
        inner = self.bound * (2 * sizes.cumsum(-1)[..., :-1] - 1)
        # The last sum is 1 but for rounding; the ends must be the bounds, or a number could lie in no bin.
        return F.pad(F.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)

    def transform(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._within(rational_quadratic, x, parameters)

    def invert(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._within(inverse_rational_quadratic, z, parameters)

    def _within(
        self, spline: Callable[..., tuple[Tensor, Tensor]], given: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The spline where it bends, in float32 or better: in half precision knots would coincide."""
        wide = widened(given)
        mapped, log_slope = spline(wide.clamp(-self.bound, self.bound), *self.knots(widened(parameters)))
        within = wide.abs() <= self.bound
        return torch.where(within, mapped, wide).to(given.dtype), torch.where(within, log_slope, 0.0)


class SplineCoupling(Coupling):
    """Bend half of the channels by splines that the other half decides.

    Source: neural spline flows (arXiv:1906.04032), where splines told nothing bend the other half, too.

    Args:
        conditioner: Gives `3 n_bins - 1` times the channels it changes, a parameter's channels together.
        n_bins: Bins of each spline.
        bound: Half the length of the interval that is bent.
        swap: Let the second half pass and change the first.
    """

    def __init__(self, conditioner: nn.Module, n_bins: int = 8, bound: float = 5.0, *, swap: bool = False) -> None:
        super().__init__(conditioner, swap=swap)
        self.spline = SplineMap(n_bins, bound)

    def transform(self, x_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self.spline.transform(x_b, per_number(parameters, self.spline.n_parameters).to(x_b.dtype))

    def invert(self, z_b: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self.spline.invert(z_b, per_number(parameters, self.spline.n_parameters).to(z_b.dtype))


class NSF(Chain):
    """Splines of each number, told the numbers before it, or every other number.

    Source: neural spline flows (arXiv:1906.04032), without linear maps between the splines.

    Args:
        n_features: Numbers in a vector.
        n_flows: Autoregressions or couplings; the order, or the half that changes, alternates.
        autoregressive: Tell each number all before it (slow inverse) instead of every other number.
        n_bins: Bins of each spline.
        bound: Half the length of the interval that is bent; standardise the data to lie inside it.
        context_channels: Numbers of the context's features, 0 for none.
        n_channels: Width of each conditioner.
        n_layers: Its hidden layers.
    """

    def __init__(
        self,
        n_features: int,
        n_flows: int = 4,
        *,
        autoregressive: bool = False,
        n_bins: int = 8,
        bound: float = 5.0,
        context_channels: int = 0,
        n_channels: int = 64,
        n_layers: int = 2,
    ) -> None:
        family = MAF if autoregressive else RealNVP
        super().__init__(
            family(
                n_features,
                n_flows,
                context_channels=context_channels,
                n_channels=n_channels,
                n_layers=n_layers,
                elementwise=SplineMap(n_bins, bound),
            )
        )


def rational_quadratic(x: Tensor, places: Tensor, values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """The spline's value and the logarithm of its derivative at x, which lies between the outermost knots.

    Args:
        x: Any shape.
        places: Knots, increasing, `(*x.shape, K + 1)`.
        values: The spline's values there, increasing.
        slopes: Its derivatives there, positive.
    """
    x_0, width, y_0, height, d_0, d_1 = _bin(x, places, places, values, slopes)
    s, t = height / width, (x - x_0) / width
    below = s + (d_1 + d_0 - 2 * s) * t * (1 - t)
    return y_0 + height * (s * t.square() + d_0 * t * (1 - t)) / below, _log_slope(t, s, d_0, d_1, below)


def inverse_rational_quadratic(z: Tensor, places: Tensor, values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Where the spline takes the value z, and the logarithm of the inverse's derivative there."""
    x_0, width, y_0, height, d_0, d_1 = _bin(z, values, places, values, slopes)
    s, rise = height / width, z - y_0
    curve = rise * (d_1 + d_0 - 2 * s)
    a, b, c = height * (s - d_0) + curve, height * d_0 - curve, -s * rise
    root = torch.sqrt((b.square() - 4 * a * c).clamp_min(torch.finfo(z.dtype).tiny))
    # Of the two forms of the solution, the one that does not subtract nearly equal numbers; a is positive where b < 0.
    falls = b < 0
    t = torch.where(falls, root - b, -2 * c) / torch.where(falls, 2 * a, b + root)
    t = t.clamp(0, 1)
    below = s + (d_1 + d_0 - 2 * s) * t * (1 - t)
    return x_0 + width * t, -_log_slope(t, s, d_0, d_1, below)


def _log_slope(t: Tensor, s: Tensor, d_0: Tensor, d_1: Tensor, below: Tensor) -> Tensor:
    above = d_1 * t.square() + 2 * s * t * (1 - t) + d_0 * (1 - t).square()
    return 2 * torch.log(s) + torch.log(above) - 2 * torch.log(below)


def _bin(number: Tensor, edges: Tensor, places: Tensor, values: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    k = (number[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
    (x_0, x_1), (y_0, y_1), (d_0, d_1) = (
        (table.gather(-1, k)[..., 0], table.gather(-1, k + 1)[..., 0]) for table in (places, values, slopes)
    )
    return x_0, x_1 - x_0, y_0, y_1 - y_0, d_0, d_1
