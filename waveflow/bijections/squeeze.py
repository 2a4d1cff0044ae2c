"""From a waveform to a short sequence of wide vectors: by reshaping, or by a lapped transform."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, full_precision, zero_log_det
from waveflow.bijections.checks import require_channels
from waveflow.nn.context import Context, as_context
from waveflow.settings import require_counts


class Squeeze(Bijection):
    """Stack `n_group` neighbouring samples as channels: `z[b, g, l] = x[b, l * n_group + g]`.

    Source: RealNVP's squeezing (arXiv:1605.08803), over time as in WaveGlow (arXiv:1811.00002).
    """

    def __init__(self, n_group: int) -> None:
        super().__init__()
        require_counts(n_group=n_group)
        self.n_group = n_group

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, T)` to `(B, n_group, T // n_group)`.

        Raises:
            ValueError: T is no multiple of n_group.
        """
        return to_frames(x, self.n_group).transpose(1, 2), zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        require_channels(z, self.n_group)
        return z.transpose(1, 2).flatten(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z), zero_log_det(z)


class LappedSqueeze(Bijection):
    """Turn frames of `n_bands` samples into `n_bands` frequency bands by an orthonormal lapped transform (MDCT).

    Around each boundary between frames the samples are rotated in mirrored pairs, then each frame takes a DCT-IV:

        (left_j, right_j) <- (c_j left_j - s_j right_j,  s_j left_j + c_j right_j)
        z[k] = sqrt(2 / M) sum_n frame[n] cos(pi / M (n + 1/2) (k + 1/2)),    M = n_bands

    with `c_j^2 + s_j^2 = 1` from the rising half of the window. Both are orthogonal, so log_det is 0 and the inverse
    is the transpose. The outer edges of the signal are not rotated: the transform is orthogonal on a finite signal.

    Source: lapped transforms by time-domain aliasing cancellation, Princen, Johnson and Bradley (1987), in the
    factored form of Malvar, Signal Processing with Lapped Transforms (1992).

    Args:
        n_bands: Samples per frame and bands per frame, even.
        window: `sine`, or `kbd` (Kaiser-Bessel derived, alpha 4) for less leakage far away and more nearby.
        overlap: Samples shared by two neighbouring windows, even, at most n_bands, which is the default.

    Raises:
        ValueError: `n_bands` or `overlap` is odd, `overlap` is above `n_bands`, or no window is called so.
    """

    cos: Tensor
    sin: Tensor
    dct: Tensor

    def __init__(self, n_bands: int, window: str = "sine", overlap: int | None = None) -> None:
        super().__init__()
        require_counts(n_bands=n_bands)
        overlap = n_bands if overlap is None else overlap
        require_counts(0, overlap=overlap)
        if n_bands % 2 or overlap % 2 or overlap > n_bands:
            raise ValueError(f"n_bands={n_bands} and overlap={overlap} must be even, with overlap at most n_bands")
        self.n_bands, self.overlap, self.window = n_bands, overlap, window
        for name, table in self._tables().items():
            self.register_buffer(name, table.to(torch.get_default_dtype()), persistent=False)

    def _tables(self) -> dict[str, Tensor]:
        rise, half = rising_window(self.overlap, self.window), self.overlap // 2
        n = torch.arange(self.n_bands, dtype=torch.float64) + 0.5
        dct = math.sqrt(2 / self.n_bands) * torch.cos(math.pi / self.n_bands * torch.outer(n, n))
        return {"cos": rise[half:], "sin": rise[:half].flip(0), "dct": dct}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LappedSqueeze:
        # A module moved to float64 must not keep tables that were rounded to float32.
        super()._apply(fn, recurse)
        for name, table in self._tables().items():
            buffer = getattr(self, name)
            if not buffer.is_meta:
                buffer.copy_(table)
        return self

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, T)` to `(B, n_bands, T // n_bands)`.

        Raises:
            ValueError: T is no multiple of n_bands.
        """
        with full_precision(x):
            frames = self._rotate(to_frames(x, self.n_bands), as_context(context).mask, sign=1)
            return (frames @ self.dct.to(x.dtype)).transpose(1, 2), zero_log_det(x)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        require_channels(z, self.n_bands)
        with full_precision(z):
            frames = z.transpose(1, 2) @ self.dct.to(z.dtype)
            return self._rotate(frames, as_context(context).mask, sign=-1).flatten(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self.inverse(z, context), zero_log_det(z)

    def _rotate(self, frames: Tensor, mask: Tensor | None, sign: int) -> Tensor:
        half, width = self.overlap // 2, self.n_bands
        if half == 0 or frames.shape[1] < 2:
            return frames
        cos, sin = self.cos.to(frames.dtype), sign * self.sin.to(frames.dtype)
        if mask is not None:
            # A boundary exists only where the frame to its right does.
            inside = mask[:, 0, 1:, None].to(frames.dtype)
            cos, sin = 1 + inside * (cos - 1), inside * sin
        left = frames[:, :-1, width - half :].flip(-1)
        right = frames[:, 1:, :half]
        left, right = cos * left - sin * right, sin * left + cos * right
        first, last = frames[:, :1, :half], frames[:, -1:, width - half :]
        return torch.cat(
            [
                torch.cat([first, right], dim=1),
                frames[:, :, half : width - half],
                torch.cat([left.flip(-1), last], dim=1),
            ],
            dim=2,
        )


def to_frames(x: Tensor, n: int) -> Tensor:
    """View `(B, T)` as `(B, T // n, n)`, or say why that cannot be.

    Raises:
        ValueError: The shape is another, or T is no multiple of n.
    """
    if x.dim() != 2 or x.shape[1] % n:
        raise ValueError(f"audio has shape {tuple(x.shape)}, expected (B, T) with T a multiple of {n}; cut or pad it")
    return x.reshape(x.shape[0], x.shape[1] // n, n)


def rising_window(overlap: int, window: str) -> Tensor:
    """The rising part of a power-complementary window, `overlap` samples: `w[i]^2 + w[-1 - i]^2 = 1`.

    Args:
        overlap: Samples of the part.
        window: `sine`, or `kbd` (Kaiser-Bessel derived, alpha 4).

    Returns:
        float64 `(overlap,)`.

    Raises:
        ValueError: No window is called so.
    """
    if window == "sine":
        return torch.sin(math.pi / 2 * (torch.arange(overlap, dtype=torch.float64) + 0.5) / max(overlap, 1))
    if window == "kbd":
        kaiser = torch.kaiser_window(overlap + 1, periodic=False, beta=4 * math.pi, dtype=torch.float64)
        return torch.sqrt(kaiser.cumsum(0)[:-1] / kaiser.sum())
    raise ValueError(f"window is {window!r}, expected 'sine' or 'kbd'")
