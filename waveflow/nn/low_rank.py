"""Low-rank updates on top of a model's weights, which stay as they are: a voice in a few hundred kilobytes."""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from waveflow.nn.modules import parametrizations


class LowRank(nn.Module):
    """Add a matrix of low rank to a weight.

        W' = W + up @ down,    W taken as a matrix (out, all the rest)

    `up` starts at zero, so that a fresh update changes nothing.

    Source: LoRA (arXiv:2106.09685), without its factor `alpha / rank`; for convolutions with their taps beside their
    inputs.

    Args:
        up: `(rows, rank)`.
        down: `(rank, columns)`.
    """

    def __init__(self, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(up), nn.Parameter(down)

    @classmethod
    def fresh(cls, weight: Tensor, rank: int) -> LowRank:
        """An update that changes nothing yet."""
        rows, columns = weight.shape[0], weight[0].numel()
        down = torch.randn(rank, columns, dtype=weight.dtype, device=weight.device) / math.sqrt(columns)
        return cls(weight.new_zeros(rows, rank), down)

    def forward(self, weight: Tensor) -> Tensor:
        # Weights keep their precision; what uses them may cast the sum.
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.up @ self.down).view_as(weight)


class Shift(nn.Module):
    """Add a vector to a bias or a gain: `b' = b + by`."""

    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.by = nn.Parameter(by)

    def forward(self, vector: Tensor) -> Tensor:
        return vector + self.by


def attach(model: nn.Module, rank: int, patterns: Sequence[str] = ("*",), *, vectors: bool = True) -> list[str]:
    """Put a fresh update on every weight whose name fits a pattern, and freeze everything else.

    Matrices of which `rank` would not be a saving are left out.

    Args:
        model: Changed in place; its own weights stay what they are.
        rank: Of the updates of matrices, at least 1.
        patterns: Names as `fnmatch` reads them, e.g. `flow.steps.*.end.*`.
        vectors: Let biases and gains move too.

    Returns:
        Names of the weights that have an update.

    Raises:
        ValueError: An impossible rank, a pattern that fits no weight, or a model that has updates already.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}, expected at least 1")
    _refuse_attached(model)
    targets = {name: (module, own) for name, module, own in _weights(model)}
    for pattern in patterns:
        if not fnmatch.filter(targets, pattern):
            raise ValueError(f"no weight is called {pattern!r}; names look like {next(iter(targets))!r}")
    model.requires_grad_(False)
    adapted = []
    for name, (module, own) in targets.items():
        weight = getattr(module, own).detach()
        is_vector = weight.numel() == max(weight.shape, default=1)
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        if is_vector and vectors:
            _register(module, own, Shift(torch.zeros_like(weight)))
        elif not is_vector and rank * (weight.shape[0] + weight[0].numel()) < weight.numel():
            _register(module, own, LowRank.fresh(weight, rank))
        else:
            continue
        adapted.append(name)
    if not adapted:
        raise ValueError(
            f"rank {rank} saves nothing on the chosen weights of {type(model).__name__}; choose a lower one"
        )
    return adapted


def updates(model: nn.Module) -> dict[str, Tensor]:
    """The updates of a model: `<weight>.up` and `<weight>.down`, or `<weight>.by`."""
    return {
        f"{name}.{part}": value.detach()
        for name, _, _, update in _attached(model)
        for part, value in update.named_parameters()
    }


def attach_updates(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put given updates on a model.

    Raises:
        ValueError: They do not fit its weights, or it has updates already.
    """
    _refuse_attached(model)
    targets = {name: (module, own) for name, module, own in _weights(model)}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, part = key.rpartition(".")
        parts.setdefault(name, {})[part] = value
    for name, found in parts.items():
        if name not in targets:
            raise ValueError(f"{type(model).__name__} has no weight {name!r}, which the adapter changes")
        module, own = targets[name]
        weight = getattr(module, own).detach()
        shapes = {part: tuple(value.shape) for part, value in found.items()}
        if shapes == {"by": tuple(weight.shape)}:
            _register(module, own, Shift(found["by"].to(weight)))
        elif _fits(shapes, weight):
            _register(module, own, LowRank(found["up"].to(weight), found["down"].to(weight)))
        else:
            raise ValueError(f"the adapter's update of {name} has {shapes}, the weight has shape {tuple(weight.shape)}")


def detach(model: nn.Module) -> None:
    """Take all updates off; the weights are those from before `attach`, to the bit."""
    for _, module, own, _ in list(_attached(model)):
        chain = _chain(module, own)
        chain.pop(-1)
        if len(chain):
            continue
        plain = parametrize.type_before_parametrizations(module)
        # Copies share a parametrised class, which must keep its properties for them.
        module.__class__ = _copy_of_class(type(module))
        delattr(module.__class__, own)
        chains = parametrizations(module)
        del chains[own]
        module.register_parameter(own, chain.get_parameter("original"))
        if not len(chains):
            module.__class__ = plain
            del module.parametrizations


@torch.no_grad()
def merge(model: nn.Module) -> dict[str, Tensor]:
    """Work all updates into the weights, which then are as plain as before.

    The sums are taken in float64 and rounded once, so that the same updates always make the same weights.

    Returns:
        What the weights were, for `unmerge`.
    """
    places = {name: (module, own) for name, module, own, _ in _attached(model)}
    merged = {name: copy.deepcopy(_chain(m, own)).cpu().double()() for name, (m, own) in places.items()}
    detach(model)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name, (module, own) in places.items():
        if parametrize.is_parametrized(module, own):
            setattr(module, own, merged[name].to(getattr(module, own)))
        else:
            getattr(module, own).copy_(merged[name])
    return {name: before[name] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@torch.no_grad()
def unmerge(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Put the weights back that `merge` returned, to the bit."""
    state = model.state_dict()
    for name, value in before.items():
        state[name].copy_(value)


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, module and attribute of every weight, those behind a weight norm as the weight that is used."""
    for place, module in model.named_modules():
        if "parametrizations" in place.split("."):
            continue
        own = [name for name, _ in module.named_parameters(recurse=False)]
        own += list(parametrizations(module)) if parametrize.is_parametrized(module) else []
        for name in own:
            yield f"{place}.{name}" if place else name, module, name


def _attached(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    for name, module, own in _weights(model):
        if parametrize.is_parametrized(module, own):
            update = _chain(module, own)[-1]
            if isinstance(update, (LowRank, Shift)):
                yield name, module, own, update


def _chain(module: nn.Module, own: str) -> parametrize.ParametrizationList:
    found = parametrizations(module)[own]
    assert isinstance(found, parametrize.ParametrizationList)
    return found


def _refuse_attached(model: nn.Module) -> None:
    if any(True for _ in _attached(model)):
        raise ValueError(f"{type(model).__name__} has low-rank updates already; merge or detach them first")


def _register(module: nn.Module, own: str, update: nn.Module) -> None:
    if parametrize.is_parametrized(module):
        module.__class__ = _copy_of_class(type(module))
    parametrize.register_parametrization(module, own, update, unsafe=True)


def _copy_of_class(cls: type) -> type:
    values = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return type(cls.__name__, cls.__bases__, values)


def _fits(shapes: Mapping[str, tuple[int, ...]], weight: Tensor) -> bool:
    if set(shapes) != {"up", "down"} or any(len(shape) != 2 for shape in shapes.values()) or weight.dim() < 2:
        return False
    (rows, rank), (same, columns) = shapes["up"], shapes["down"]
    return rank == same and (rows, columns) == (weight.shape[0], weight[0].numel())
