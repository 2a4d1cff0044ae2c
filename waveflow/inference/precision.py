"""Precisions by their names; and autocast and a default device, kept away from what has its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Owner = TypeVar("Owner", bound="Placed")
Result = TypeVar("Result")

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def precision_of(dtype: torch.dtype | str | None) -> torch.dtype:
    """The precision of a name; float32 of None.

    Raises:
        ValueError: It is none to synthesise in.
    """
    found = torch.float32 if dtype is None else PRECISIONS.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in PRECISIONS.values():
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(PRECISIONS)}")
    return found


class Placed(Protocol):
    """What is on a device."""

    @property
    def device(self) -> torch.device: ...


def in_own_precision(
    method: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Result]:
    """Run a method of something with a `device` in the precision it asks for, also where the caller has autocast on.

    A default device, as `torch.set_default_device` sets it, is not for its tensors, either.
    """

    @functools.wraps(method)
    def run(self: Owner, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        elsewhere = torch.get_default_device().type != "cpu"
        with torch.autocast(self.device.type, enabled=False), torch.device("cpu") if elsewhere else nullcontext():
            return method(self, *args, **kwargs)

    return run
