"""Continuous flows: the data is carried to the latent by a differential equation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from waveflow.bijections.base import Bijection, full_precision, widened, zero_log_det
from waveflow.bijections.derivatives import jacobian, pull_back, random_signs, settle, tracked
from waveflow.extras import require
from waveflow.nn.context import Context, as_context
from waveflow.settings import is_count, require_positive

EXACT_UP_TO = 16
"""Numbers per item up to which the trace is taken exactly, unless told otherwise."""

FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams", "fixed_adams")
"""The solvers of torchdiffeq whose steps have a given length."""

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Those that choose it; `scipy_solver` is left out, for it gives no gradients."""


class Continuous(Bijection):
    """Follow a velocity field from data at time 0 to latent at time 1.

        dx/dt = f(t, x),    z = x(1),    log_det = integral over t of the trace of df/dx

    The trace is exact for small data and Hutchinson's unbiased estimate for large, with one draw of noise for the
    whole path. An adaptive solver keeps its error per step below `atol + rtol |x|`, in the root mean square over the
    numbers of each item, in the item that is worst, and the round trip is as good.
    Fixed steps cost the same every time, but forward and inverse undo each other only up to the solver's order, and
    the log_det is that of the equation, not of its steps.

    Source: FFJORD (arXiv:1810.01367); neural ODEs (arXiv:1806.07366). Solvers by torchdiffeq.

    Args:
        velocity: Called as `velocity(t, x, context)`, t a scalar; gives x's shape.
        solver: One of `ADAPTIVE` (`dopri5`, ...) or `FIXED` (`euler`, `midpoint`, `rk4`, ...), as torchdiffeq has them.
        n_steps: Steps of a fixed solver, at least 1; None for an adaptive one.
        rtol: Relative tolerance of an adaptive solver.
        atol: Absolute tolerance of an adaptive solver.
        exact: Whether the trace is exact; where None, for items of up to 16 numbers.
        adjoint: Differentiate by a second equation backwards in time, with memory that does not grow with the steps,
            and gradients as exact as the solver; otherwise through the solver's operations.
        inverse_solver: Solver of `inverse`, where it is another than that of the log_det: fewer steps make cheaper
            samples.
        inverse_steps: Its steps, if it is a fixed one.

    Raises:
        ValueError: An unknown solver, a fixed one without n_steps, or an adaptive one with it.
    """

    def __init__(
        self,
        velocity: nn.Module,
        *,
        solver: str = "dopri5",
        n_steps: int | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        exact: bool | None = None,
        adjoint: bool = False,
        inverse_solver: str | None = None,
        inverse_steps: int | None = None,
    ) -> None:
        super().__init__()
        if inverse_solver is None:
            inverse_solver, inverse_steps = solver, n_steps
        require_solver(solver=solver, n_steps=n_steps)
        require_solver(inverse_solver=inverse_solver, inverse_steps=inverse_steps)
        require_positive(rtol=rtol, atol=atol)
        self.velocity, self.solver, self.n_steps = velocity, solver, n_steps
        self.inverse_solver, self.inverse_steps = inverse_solver, inverse_steps
        self.rtol, self.atol, self.exact, self.adjoint = rtol, atol, exact, adjoint

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        """Map `(B, ...)` to the same shape.

        Raises:
            MissingExtra: torchdiffeq is not installed.
            RuntimeError: No step of an adaptive solver is short enough, as where the data are not finite.
        """
        return self._with_log_det(x, context, 0.0, 1.0)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        told = as_context(context)
        with full_precision(z):
            solver = self.inverse_solver, self.inverse_steps

            def derivative(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                return (self._velocity(t, state[0], told, z.dtype),)

            return self._solve(derivative, (widened(z),), told, 1.0, 0.0, solver)[0].to(z.dtype)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self._with_log_det(z, context, 1.0, 0.0)

    def _with_log_det(
        self, x: Tensor, context: Tensor | Context | None, start: float, end: float
    ) -> tuple[Tensor, Tensor]:
        told, dtype = as_context(context), x.dtype
        exact = x.shape[1:].numel() <= EXACT_UP_TO if self.exact is None else self.exact
        noise = None if exact else random_signs(widened(x))

        def derivative(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            create_graph = torch.is_grad_enabled()
            with tracked(state[0], told) as (x, inside):
                dx = self._velocity(t, x, inside, dtype)
                if noise is None:
                    trace = jacobian(dx, x, create_graph).diagonal(dim1=1, dim2=2).sum(1)
                else:
                    trace = (pull_back(dx, x, noise, create_graph) * noise).flatten(1).sum(1)
            return settle(dx), settle(trace).to(state[1].dtype)

        with full_precision(x):
            solver = self.solver, self.n_steps
            z, log_det = self._solve(derivative, (widened(x), zero_log_det(x)), told, start, end, solver)
            return z.to(dtype), log_det

    def _velocity(self, t: Tensor, x: Tensor, context: Context, dtype: torch.dtype) -> Tensor:
        """The network's, in its own precision; the path is followed in float32 or better."""
        dx = self.velocity(t.to(dtype), x.to(dtype), context).to(x.dtype)
        return dx if context.mask is None else dx * context.mask

    def _solve(
        self,
        derivative: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
        state: tuple[Tensor, ...],
        context: Context,
        start: float,
        end: float,
        solver: tuple[str, int | None],
    ) -> tuple[Tensor, ...]:
        torchdiffeq = require("torchdiffeq", "ode")
        if not state[0].numel():
            return state
        method, n_steps = solver
        options = {"norm": _worst_item} if n_steps is None else {"grid_constructor": functools.partial(_grid, n_steps)}
        config = {"method": method, "rtol": self.rtol, "atol": self.atol, "options": options}
        times = torch.tensor([start, end], dtype=state[0].dtype, device=state[0].device)
        solve = torchdiffeq.odeint
        if self.adjoint and torch.is_grad_enabled():
            told = [f for f in (context.features,) if f is not None and f.requires_grad]
            config["adjoint_params"] = (*(p for p in self.velocity.parameters() if p.requires_grad), *told)
            solve = torchdiffeq.odeint_adjoint
        try:
            path = solve(derivative, state, times, **config)
        except AssertionError as error:
            raise RuntimeError(
                f"{method} found no step that keeps rtol={self.rtol} and atol={self.atol} ({error}): the data, the "
                "context or the weights are not finite, or the velocity is too steep; look at them, or raise both"
            ) from error
        return tuple(values[-1] for values in path)


def require_solver(**given: object) -> None:
    """Refuse a solver and steps that do not go together.

    Args:
        given: The two settings by their names: the solver, then its steps.

    Raises:
        ValueError: An unknown solver, a fixed one without steps, or an adaptive one with them.
    """
    (name, solver), (name_of_steps, steps) = given.items()
    if solver not in FIXED + ADAPTIVE:
        raise ValueError(f"{name} is {solver!r}, expected one of {ADAPTIVE}, or with {name_of_steps} of {FIXED}")
    if not (is_count(steps) if solver in FIXED else steps is None):
        raise ValueError(
            f"{name}={solver!r} with {name_of_steps}={steps!r}: the fixed solvers {FIXED} need {name_of_steps}, "
            "a whole number of at least 1, the others take none"
        )


def _worst_item(state: tuple[Tensor, ...]) -> Tensor:
    """The largest root mean square of an item: easy items must not hide the error of a hard one."""
    parts = [part[:, None] if part.dim() == 1 else part.flatten(1) for part in state]
    return torch.stack([part.square().mean(1).max() for part in parts]).max().sqrt()


def _grid(n_steps: int, derivative: object, state: object, times: Tensor) -> Tensor:
    return torch.linspace(times[0], times[-1], n_steps + 1, dtype=times.dtype, device=times.device)
