"""Modules as type checkers should see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import Tensor, nn

Part = TypeVar("Part", bound=nn.Module)

if TYPE_CHECKING:

    class ModuleListOf(nn.ModuleList, Generic[Part]):
        """An `nn.ModuleList`, and nothing else when run, whose modules type checkers know the class of."""

        def __init__(self, modules: Iterable[Part] = ()) -> None: ...
        def __iter__(self) -> Iterator[Part]: ...
        @overload
        def __getitem__(self, idx: slice) -> ModuleListOf[Part]: ...
        @overload
        def __getitem__(self, idx: int) -> Part: ...
        def __getitem__(self, idx: int | slice) -> Part | ModuleListOf[Part]: ...

else:
    ModuleListOf = nn.ModuleList


def of_kind(module: nn.Module, kind: type[Part]) -> list[Part]:
    """All modules of a class within a module, in order."""
    return [each for each in module.modules() if isinstance(each, kind)]


def bias_of(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d) -> Tensor:
    """The bias of a layer that was built with one."""
    assert layer.bias is not None
    return layer.bias


def parametrizations(module: nn.Module) -> nn.ModuleDict:
    """What makes each parametrised weight of a module from what is kept of it."""
    found = module.parametrizations
    assert isinstance(found, nn.ModuleDict)
    return found
