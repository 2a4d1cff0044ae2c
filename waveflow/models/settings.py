"""Between what the settings of the models may be."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from waveflow.audio.mel_config import MelConfig
from waveflow.settings import require_counts, require_lists_of_counts, require_positive

Config = TypeVar("Config")


def checked(config: Config, *, zero: Collection[str] = ()) -> Config:
    """A model's config, every setting of which is of its field's type and in its range.

    Whole numbers are at least 1, other numbers finite and above 0, and lists are not empty.

    Args:
        config: A dataclass.
        zero: The numbers that may be 0, besides sigma.

    Raises:
        ValueError: A setting is not; it is named, with what was given and what is expected.
    """
    for name, kinds in _kinds(type(config)).items():
        value = getattr(config, name)
        if value is None and type(None) in kinds:
            continue
        if int in kinds:
            require_counts(0 if name in zero else 1, **{name: value})
        elif list[int] in kinds:
            require_lists_of_counts(**{name: value})
        elif float in kinds:
            require_positive(zero=name in ("sigma", *zero), **{name: value})
        elif not isinstance(value, kinds):
            raise ValueError(f"{name} is {value!r}, expected {_EXPECTED[kinds[0]]}")
    return config


_EXPECTED = {bool: "true or false", str: "a name", MelConfig: "a MelConfig, its settings, or the name of a preset"}


def _kinds(config_class: type) -> dict[str, tuple[Any, ...]]:
    """The types that each field may have."""
    hints = typing.get_type_hints(config_class)
    kinds = {}
    for name in (f.name for f in dataclasses.fields(config_class)):
        is_union = typing.get_origin(hints[name]) in (typing.Union, types.UnionType)
        kinds[name] = typing.get_args(hints[name]) if is_union else (hints[name],)
    return kinds
