"""Packages that an extra brings: imported when they are needed, and asked for by name where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtra(ImportError):
    """A package is not installed; the message says which extra brings it.

    Args:
        package: Name of the module.
        extra: Name of the extra.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package} is not installed; install the extra: pip install 'waveflow[{extra}]'", name=package
        )


def require(module: str, extra: str) -> ModuleType:
    """Import a module that an extra brings.

    Raises:
        MissingExtra: It, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or module, extra) from error
