"""What pyproject.toml cannot say: the recipes, which lie beside the package, go into the wheel with it."""

from pathlib import Path
from shutil import copy2

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies each recipe's YAML to `waveflow/recipes`, where `waveflow train --recipe NAME` looks too."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for recipe in sorted(Path("recipes").glob("*/*.yaml")):
            target = Path(self.build_lib, "waveflow", recipe)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy2(recipe, target)


setup(cmdclass={"build_py": BuildWithRecipes})
