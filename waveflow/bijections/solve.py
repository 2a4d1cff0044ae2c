"""Solvers for inverses without a formula, to a stated tolerance and differentiable."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

MAX_ITERATIONS = 1000


def tolerance_of(dtype: torch.dtype) -> float:
    """How far a solution may be off, as a fraction of `1 + |x|`: 1e-10 in float64, 1e-5 in float32, else what fits."""
    return 1e-10 if dtype == torch.float64 else max(1e-5, 4 * torch.finfo(dtype).eps)


def invert_monotone(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], target: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Solve `function(x) = target` for each number, where the function increases.

    Newton steps that stay inside a bracket, with every third step a bisection, so that the bracket halves whatever the
    function does. First and second derivatives with respect to the target and to whatever the function closes over
    are exact.

    Args:
        function: Maps numbers of target's shape to their values and derivatives, number by number.
        target: What the values must be.
        low: Numbers at or below the solution, of target's shape.
        high: Numbers at or above it.

    Returns:
        The solutions, to `tolerance_of(target.dtype)`.
    """
    with torch.no_grad():
        tolerance = tolerance_of(target.dtype)
        x = (low + high) / 2
        for iteration in range(MAX_ITERATIONS):
            value, slope = function(x)
            error = value - target
            low, high = torch.where(error < 0, x, low), torch.where(error > 0, x, high)
            newton = x - error / slope
            close = (newton - x).abs() <= tolerance * (1 + x.abs())
            inside = (newton >= low) & (newton <= high) & (iteration % 3 != 2)
            x = torch.where(close | inside, newton, (low + high) / 2)
            if not (~close & (high - low > tolerance * (1 + x.abs()))).any():
                break
    value, slope = function(x)
    # A map may be so flat that its slope underflows, and a last Newton step by a rounding error leads far away.
    solution = x - (value - target) / slope.detach().clamp_min(torch.finfo(target.dtype).tiny)
    if solution.requires_grad:
        # A step of size 0 from there: its first derivative is 0, and its second what a single step leaves out.
        error = function(solution)[0] - target
        solution = solution - (error - error.detach()) / slope.detach().clamp_min(torch.finfo(target.dtype).tiny)
    return solution + (solution.detach().clamp(low, high) - solution.detach())


def invert_contraction(function: Callable[[Tensor], Tensor], z: Tensor, lipschitz: float) -> Tensor:
    """Solve `x + function(x) = z` for each item of a batch, where the function contracts.

    Iterates `x <- z - function(x)`. A step of length s leaves at most `s L / (1 - L)` to go, L being the Lipschitz
    constant, so that the stated tolerance is kept, not hoped for: `tolerance_of(z.dtype)`, or `4 eps L / (1 - L)`
    where that is more, since a step below the rounding of x says nothing (4.8e-5 in float32 at L = 0.99).

    First derivatives with respect to z and to whatever the function closes over are exact: the gradient g of x becomes
    the v with `v + J^T v = g`, solved the same way. There are no second ones: asking for them is an error.

    Args:
        function: Maps `(B, ...)` to the same shape, each item by itself.
        z: `(B, ...)`.
        lipschitz: Bound on the function's Lipschitz constant in the Euclidean norm, below 1.

    Returns:
        The solutions, to that tolerance in the Euclidean norm of each item, as a fraction of one plus the norm.

    Raises:
        RuntimeError: It does not converge, so that the bound does not hold; or, in the backward pass, a second
            derivative is asked for.
    """
    # The first step is taken with gradients: what the function caches must not lose its graph.
    start = z - function(z)
    with torch.no_grad():
        x = _iterate(lambda x: z - function(x), start, lipschitz)
    if not torch.is_grad_enabled():
        return x
    result = z - function(x)
    if result.requires_grad:
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = function(x)

        def solve(gradient: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError(
                    "a graph of the gradient was asked for (create_graph=True), but the solved inverse of a residual "
                    "block has first derivatives only; differentiate its forward pass twice instead"
                )

            def pull(v: Tensor) -> Tensor:
                return gradient - torch.autograd.grad(value, x, v, retain_graph=True)[0]

            return _iterate(pull, gradient, lipschitz)

        result.register_hook(solve)
        # A derivative with respect to the solution itself must not meet the hook.
        result = result.clone()
    return result


def _iterate(step: Callable[[Tensor], Tensor], start: Tensor, lipschitz: float) -> Tensor:
    # Rounding alone moves x by a few units in the last place: asking for less would never end.
    goal = max(tolerance_of(start.dtype) * (1 - lipschitz) / lipschitz, 4 * torch.finfo(start.dtype).eps)
    enough = 100 + 2 * math.ceil(math.log(goal) / math.log(lipschitz))
    real = start.isfinite().flatten(1).all(1)
    x = start
    for _ in range(enough):
        following = step(x)
        moved = (following - x).flatten(1).norm(dim=1) / (1 + x.flatten(1).norm(dim=1))
        x = following
        if ((moved <= goal) | ~real).all():
            return x
    raise RuntimeError(
        f"no fixed point after {enough} iterations: the function does not contract by {lipschitz} as it was said to"
    )
