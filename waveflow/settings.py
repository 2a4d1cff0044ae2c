"""Refuses settings that are no numbers, or out of their range, before something is built of them."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TypeGuard


def is_count(value: object, least: int = 1) -> bool:
    """Whether it is a whole number, and at least so much."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def require_counts(least: int = 1, /, **given: object) -> None:
    """Refuse what should be a number of things and is not.

    Args:
        least: The smallest number of them.
        given: The settings by their names.

    Raises:
        ValueError: One is no whole number, or below `least`.
    """
    for name, value in given.items():
        if not is_count(value, least):
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")


def require_lists_of_counts(**given: object) -> None:
    """Refuse what should be one or more numbers of things and is not.

    Raises:
        ValueError: One is no list or tuple of whole numbers of at least 1, or empty.
    """
    for name, value in given.items():
        if not isinstance(value, (list, tuple)) or not value or not all(map(is_count, value)):
            raise ValueError(f"{name} is {value!r}, expected a list of whole numbers of at least 1")


def require_positive(*, zero: bool = False, **given: object) -> None:
    """Refuse what should be a number above 0 and is not.

    Args:
        zero: 0 is allowed, too.
        given: The settings by their names.

    Raises:
        ValueError: One is no finite number, or below that.
    """
    for name, value in given.items():
        if not is_number(value) or value < 0 or (value == 0 and not zero):
            raise ValueError(f"{name} is {value!r}, expected a finite number {'of at least' if zero else 'above'} 0")
