"""Recipes as modules: each is a script that imports from its own folder and from the folder of all recipes."""

import importlib
import sys
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def load(recipe, *names):
    """Modules of one recipe, by their names in its folder, whose names are free again for the next recipe."""
    modules, path = set(sys.modules), [*sys.path]
    sys.path[:0] = [str(RECIPES / recipe), str(RECIPES)]
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(RECIPES) in str(getattr(sys.modules[name], "__file__", None)):
                del sys.modules[name]
