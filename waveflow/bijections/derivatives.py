"""Jacobians of networks by reverse differentiation, and what is estimated from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from waveflow.bijections.base import full_precision
from waveflow.nn.context import Context, as_context


@contextmanager
def tracked(x: Tensor, context: Tensor | Context | None) -> Iterator[tuple[Tensor, Context]]:
    """Let the derivative with respect to x be taken, in whatever mode the caller is: also without gradients.

    Yields x and the context, fit for that. What is computed inside carries a graph; `settle` the results.
    """
    context = as_context(context)
    wanted = torch.is_grad_enabled()
    with full_precision(x), torch.inference_mode(False), torch.enable_grad():
        # A tensor of inference mode can never take part in differentiation, but a copy can.
        features = context.features
        if features is not None and features.is_inference():
            features = features.clone()
        if x.is_inference():
            x = x.clone()
        if not (wanted and x.requires_grad):
            x = x.detach().requires_grad_()
        yield x, Context(features, context.mask)


def settle(result: Tensor) -> Tensor:
    """A result of `tracked`, without its graph where the caller wants no gradients."""
    return result if torch.is_grad_enabled() else result.detach()


def pull_back(y: Tensor, x: Tensor, v: Tensor, create_graph: bool) -> Tensor:
    """`v^T dy/dx`, of x's shape."""
    return torch.autograd.grad(y, x, v, create_graph=create_graph, retain_graph=True)[0]


def jacobian(y: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """dy/dx of each item by itself, `(B, N, N)`, by as many backward passes as an item has numbers."""
    flat = y.flatten(1)
    rows = [
        torch.autograd.grad(flat[:, i].sum(), x, create_graph=create_graph, retain_graph=True)[0].flatten(1)
        for i in range(flat.shape[1])
    ]
    return torch.stack(rows, dim=1)


def random_signs(x: Tensor) -> Tensor:
    """Plus or minus one in x's shape: `E[v^T A v]` is the trace of A.

    Source: Hutchinson, A stochastic estimator of the trace of the influence matrix (1990).
    """
    return torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1
