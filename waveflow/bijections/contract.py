"""What every bijection promises, held against a bijection of one's own."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from waveflow.bijections.base import Bijection, InverseNotAvailable
from waveflow.nn.context import Context


class BrokenPromise(AssertionError):
    """A bijection does not do what every bijection promises; the message says what, and by how much."""


def check_bijection(
    bijection: Bijection,
    x: Tensor,
    context: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Hold a bijection to what every bijection promises, on data of your choice.

    That log_det is that of autograd's full Jacobian, that each inverse undoes the forward pass, that an item does not
    depend on the rest of its batch nor, with lengths, on its padding, and that gradients reach every parameter and are
    finite. Give it weights away from those that do nothing, everything in float64, and few numbers: the Jacobian is
    taken in full.

    Args:
        bijection: In evaluation mode, or without state that a batch changes.
        x: `(B, ...)`, B at least 2.
        context: Features of its items, `(B, ...)`.
        lengths: Of a batch of sequences `(B, C, L)`: positions of each item that are real, `(B,)`. The latent's length
            must be that of the data.
        tolerance: Largest difference, absolute.

    Raises:
        BrokenPromise: A promise is broken.
        ValueError: One item, or data that are not float64.
    """
    if len(x) < 2 or x.dtype != torch.float64:
        raise ValueError(f"data is {x.dtype} of shape {tuple(x.shape)}, expected float64 of at least two items")
    x = x.detach().requires_grad_()
    z, log_det = bijection(x, context)
    if log_det.shape != (len(x),):
        raise BrokenPromise(f"log_det has shape {tuple(log_det.shape)}, expected one number an item, ({len(x)},)")
    _check_gradients(bijection, z, log_det)
    x, z, log_det = x.detach(), z.detach(), log_det.detach()
    for i in range(len(x)):
        told = None if context is None else context[i : i + 1]
        alone, alone_log_det = bijection(x[i : i + 1], told)
        _compare("an item of a batch and the item alone", z[i : i + 1], alone, tolerance)
        _compare("log_det of an item of a batch and of the item alone", log_det[i : i + 1], alone_log_det, tolerance)
        jacobian = torch.autograd.functional.jacobian(partial(_latent, bijection, told), x[i : i + 1])
        expected = torch.linalg.slogdet(jacobian.reshape(len(jacobian), -1)).logabsdet
        _compare("log_det and that of autograd's Jacobian", log_det[i], expected, tolerance)
    _check_inverse(bijection, x, z, log_det, context, tolerance)
    if lengths is not None:
        _check_padding(bijection, x, context, lengths, tolerance)


def _latent(bijection: Bijection, context: Tensor | None, x: Tensor) -> Tensor:
    return bijection(x, context)[0].flatten()


def _check_gradients(bijection: Bijection, z: Tensor, log_det: Tensor) -> None:
    named = dict(bijection.named_parameters())
    if not named:
        return
    loss = z.square().sum() + (log_det * torch.arange(1, len(z) + 1)).sum()
    found = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
    for name, gradient in zip(named, found):
        if gradient is None or not gradient.any():
            raise BrokenPromise(f"no gradient reaches {name}: nothing would train it")
        if not gradient.isfinite().all():
            raise BrokenPromise(f"the gradient of {name} is not finite")


def _check_inverse(
    bijection: Bijection, x: Tensor, z: Tensor, log_det: Tensor, context: Tensor | None, tolerance: float
) -> None:
    try:
        again = bijection.inverse(z, context)
    except InverseNotAvailable:
        return
    _compare("data and what its latent goes back to", x, again, tolerance)
    again, back = bijection.inverse_and_log_det(z, context)
    _compare("inverse and inverse_and_log_det", x, again, tolerance)
    _compare("log_det and that of the way back, negated", log_det, -back, tolerance)


def _check_padding(bijection: Bijection, x: Tensor, context: Tensor | None, lengths: Tensor, tolerance: float) -> None:
    mask = (torch.arange(x.shape[-1]) < lengths[:, None]).to(x.dtype)[:, None]
    z, log_det = bijection(x * mask, Context(context, mask))
    for i, n in enumerate(lengths.tolist()):
        told = None if context is None else context[i : i + 1, ..., :n]
        alone, alone_log_det = bijection(x[i : i + 1, ..., :n], told)
        _compare("a padded item and the item alone", z[i : i + 1, ..., :n], alone, tolerance)
        _compare("log_det of a padded item and of the item alone", log_det[i : i + 1], alone_log_det, tolerance)


def _compare(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    if found.shape != expected.shape:
        raise BrokenPromise(f"{what} have shapes {tuple(found.shape)} and {tuple(expected.shape)}")
    apart = (found - expected).abs().max().item() if found.numel() else 0.0
    if not apart <= tolerance:
        raise BrokenPromise(f"{what} differ by {apart:.3g}, more than {tolerance:.3g}")
