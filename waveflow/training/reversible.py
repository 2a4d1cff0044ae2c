"""Training in memory that does not grow with the number of flows: activations are recomputed from outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from waveflow.bijections import Bijection, Chain, Continuous, Coupling, EarlyOutputs
from waveflow.bijections.base import sum_log_det, zero_log_det
from waveflow.models import MelFlow
from waveflow.nn import Context, as_context


class ReversibleChain(Chain):
    """A chain that keeps its output alone, and gets each step's input back by the step's inverse.

    On the way back, from the last step to the first, `x = step.inverse(z)`, then the step is run again on `x` with
    gradients and left behind: the activations of one step are held at a time. A coupling's conditioner sees the half
    that passes, so that it runs once for both: a third more time, where conditioners are most of it. Forward and
    inverse both work so; `inverse_and_log_det` is ordinary. Gradients of gradients are not to be had.

    Source: reversible residual networks (arXiv:1707.04585), for flows as in Glow (arXiv:1807.03039).
    """

    def forward(self, x: Tensor, context: Tensor | Context | None = None, /) -> tuple[Tensor, Tensor]:
        return self._run(x, context, to_latent=True)

    def inverse(self, z: Tensor, context: Tensor | Context | None = None, /) -> Tensor:
        return self._run(z, context, to_latent=False)[0]

    def _run(self, x: Tensor, context: Tensor | Context | None, to_latent: bool) -> tuple[Tensor, Tensor]:
        features, mask = as_context(context)
        trained = [p for p in self.parameters() if p.requires_grad]
        route = _Route(_route(self) if to_latent else _turned(_route(self)), to_latent, mask, trained)
        return _Recompute.apply(route, x, features, *trained)


def make_reversible(model: MelFlow) -> MelFlow:
    """Let a model train with recomputed activations; its weights keep their names.

    Raises:
        ValueError: The model's flow is no plain chain, or its inverse is a solver's.
    """
    if type(model.flow) not in (Chain, ReversibleChain):
        raise ValueError(
            f"{type(model).__name__}.flow is {type(model.flow).__name__}, reversible training expects a Chain; "
            "train it with train.reversible=false"
        )
    if any(isinstance(module, Continuous) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} is solved, not computed, so that its inputs cannot be had back exactly; "
            "build it with adjoint=True, which saves memory too, and train it with train.reversible=false"
        )
    model.flow = ReversibleChain(model.flow)
    return model


@dataclass(frozen=True)
class _Leave:
    """The first `n` channels are put aside."""

    n: int


@dataclass(frozen=True)
class _Join:
    """The `n` channels put aside last come back in front."""

    n: int


class _Route(NamedTuple):
    """What is done to the data, in order."""

    moves: Sequence[Bijection | _Leave | _Join]
    to_latent: bool
    mask: Tensor | None
    trained: Sequence[Tensor]


def _route(bijection: Bijection) -> list[Bijection | _Leave | _Join]:
    if isinstance(bijection, EarlyOutputs):
        moves: list[Bijection | _Leave | _Join] = []
        for n, step in zip(bijection.early, bijection.steps):
            moves += [*([_Leave(n)] if n else []), *_route(step)]
        return moves + [_Join(n) for n in reversed(bijection.early) if n]
    if isinstance(bijection, Chain) and type(bijection) in (Chain, ReversibleChain):
        return [move for step in bijection.steps for move in _route(step)]
    return [bijection]


def _turned(moves: Sequence[Bijection | _Leave | _Join]) -> list[Bijection | _Leave | _Join]:
    """The way back."""
    return [
        _Join(move.n) if isinstance(move, _Leave) else _Leave(move.n) if isinstance(move, _Join) else move
        for move in reversed(moves)
    ]


def _move(move: _Leave | _Join, x: Tensor, aside: list[Tensor]) -> Tensor:
    if isinstance(move, _Join):
        return torch.cat([aside.pop(), x], dim=1)
    aside.append(x[:, : move.n])
    return x[:, move.n :]


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, route: _Route, x: Tensor, features: Tensor | None, *_: Tensor) -> tuple[Tensor, Tensor]:
        device = x.device.type
        ctx.route = route
        # Weights that were cast without gradients must not be found in autocast's cache by what follows.
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
            "cache_enabled": False,
        }
        context, total = Context(features, route.mask), zero_log_det(x)
        aside: list[Tensor] = []
        with torch.autocast(**ctx.autocast):
            for move in route.moves:
                if not isinstance(move, Bijection):
                    x = _move(move, x, aside)
                elif route.to_latent:
                    x, log_det = move(x, context)
                    total = total + log_det
                else:
                    x = move.inverse(x, context)
        ctx.save_for_backward(x, features)
        return x, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        route: _Route = ctx.route
        y, features = ctx.saved_tensors
        grad_features = None if features is None or not ctx.needs_input_grad[2] else torch.zeros_like(features)
        grads: dict[Tensor, Tensor | None] = dict.fromkeys(route.trained)
        aside: list[Tensor] = []
        grad_aside: list[Tensor] = []
        with torch.autocast(**ctx.autocast):
            for move in _turned(route.moves):
                if not isinstance(move, Bijection):
                    y, grad = _move(move, y, aside), _move(move, grad, grad_aside)
                    continue
                told = features if grad_features is None else features.detach().requires_grad_()
                context = Context(told, route.mask)
                if _is_plain_coupling(move):
                    y, outputs, inputs, join = _replay_coupling(move, y, context, route.to_latent)
                else:
                    y, outputs, inputs, join = _replay(move, y, context, route.to_latent)
                own = [p for p in move.parameters() if p.requires_grad]
                wanted = [*inputs, *own, *([] if grad_features is None else [told])]
                pairs = [(o, g) for o, g in zip(outputs, (grad, grad_log_det)) if o is not None and o.requires_grad]
                done, grads_of_done = zip(*pairs)
                found = list(torch.autograd.grad(done, wanted, grads_of_done, allow_unused=True))
                if grad_features is not None and (extra := found.pop()) is not None:
                    grad_features += extra
                grad = join(*found[: len(inputs)])
                for parameter, extra in zip(own, found[len(inputs) :]):
                    if extra is not None:
                        before = grads[parameter]
                        grads[parameter] = extra if before is None else before + extra
        return None, grad if ctx.needs_input_grad[1] else None, grad_features, *grads.values()


def _replay(step: Bijection, y: Tensor, context: Context, to_latent: bool) -> tuple[Tensor, tuple, tuple, Any]:
    """Undo a step, and do it again with gradients: its input, its outputs, the leaves, how their gradients join."""
    with torch.no_grad():
        x = step.inverse(y, context) if to_latent else step(y, context)[0]
    x.requires_grad_()
    with torch.enable_grad():
        outputs = step(x, context) if to_latent else (step.inverse(x, context), None)
    return x.detach(), outputs, (x,), lambda grad: grad


def _is_plain_coupling(step: Bijection) -> TypeGuard[Coupling]:
    return isinstance(step, Coupling) and type(step).forward is Coupling.forward


def _replay_coupling(step: Coupling, y: Tensor, context: Context, to_latent: bool) -> tuple[Tensor, tuple, tuple, Any]:
    """`_replay` with one run of the conditioner, which sees only the half that passes."""
    do, undo = (step.transform, step.invert) if to_latent else (step.invert, step.transform)
    order = -1 if step.swap else 1

    def join(passed: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([passed, changed][::order], dim=1)

    a, b = y.detach().chunk(2, dim=1)[::order]
    a.requires_grad_()
    with torch.enable_grad():
        parameters = step.conditioner(a, context)
    with torch.no_grad():
        b = undo(b, parameters)[0]
    b.requires_grad_()
    with torch.enable_grad():
        changed, log_s = do(b, parameters)
        log_det = None if log_s is None or not to_latent else sum_log_det(log_s, context)
        outputs = (join(a, changed), log_det)
    return join(a, b).detach(), outputs, (a, b), join
