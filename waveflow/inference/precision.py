"""Autocast, kept away from what has a precision of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Owner = TypeVar("Owner")
Result = TypeVar("Result")


def in_own_precision(
    method: Callable[Concatenate[Owner, Arguments], Result],
) -> Callable[Concatenate[Owner, Arguments], Result]:
    """Run a method of something with a `device` in the precision it asks for, also where the caller has autocast on."""

    @functools.wraps(method)
    def run(self: Owner, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.autocast(self.device.type, enabled=False):
            return method(self, *args, **kwargs)

    return run
