"""Recipes: Hydra YAML with what differs from the schema, and overrides on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import waveflow
from waveflow.training.config import TrainConfig, check_key, check_keys

SCHEMA = "train"
"""What a recipe names in its defaults list."""


def compose(recipe: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe, with overrides in Hydra's grammar.

    Args:
        recipe: A YAML file, a folder with `config.yaml`, or the name of a folder in `recipes/` of the working
            directory, of the checkout that waveflow runs from, or of the installed package; None is the schema's
            defaults.
        overrides: `train.steps=1000`, `data.gain_db=[-6,6]`, `model_config.n_flows=4`, ...

    Raises:
        ValueError: There is no such recipe, an unknown setting (the nearest valid one is named), a wrong value.
    """
    import hydra
    import yaml
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store(SCHEMA, TrainConfig)
    path = None if recipe is None else find_recipe(recipe)
    place: hydra.initialize | hydra.initialize_config_dir
    try:
        if path is None:
            place = hydra.initialize(config_path=None, version_base="1.3")
        else:
            own = OmegaConf.to_container(OmegaConf.load(path))
            if not isinstance(own, dict):
                raise ValueError(f"{path} holds a {type(own).__name__}, expected settings by their names")
            check_keys({str(key): value for key, value in own.items() if key != "defaults"})
            place = hydra.initialize_config_dir(str(path.parent), version_base="1.3")
        with place:
            composed = hydra.compose(path.stem if path else SCHEMA, _checked(overrides))
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        said = [*str(error).splitlines()[:2], *str(error.__cause__ or "").splitlines()[:1]]
        raise ValueError(": ".join(line.strip(" .") for line in said)) from error
    return TrainConfig.from_dict(values)


def find_recipe(recipe: str | Path) -> Path:
    """The YAML file of a recipe.

    Args:
        recipe: As for `compose`.

    Raises:
        ValueError: There is no such recipe; the message names the places looked at.
    """
    package = Path(waveflow.__file__).parent
    folders = [Path("recipes"), package.parent / "recipes", package / "recipes"]
    places = [Path(recipe), *(folder / recipe for folder in folders)]
    for place in places:
        path = place / "config.yaml" if place.is_dir() else place
        if path.is_file():
            return path.resolve()
    raise ValueError(
        f"there is no recipe {str(recipe)!r}: give a YAML file, or a folder with config.yaml; "
        f"looked at {', '.join(map(str, places))}"
    )


def _checked(overrides: Sequence[str]) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, checked = OverridesParser.create(), []
    for text in overrides:
        try:
            parsed = parser.parse_override(text)
        except HydraException as error:
            raise ValueError(
                f"{text!r} cannot be read as NAME=VALUE; a value with signs or letters beyond ASCII wants quotes of "
                "its own, for instance 'train.out=\"runs/a=b\"'"
            ) from error
        key = parsed.key_or_group
        check_key(key)
        if parsed.is_sweep_override():
            raise ValueError(f"{text!r} is a sweep over several values; start one run for each")
        # The model's own settings are no part of the schema, so Hydra wants to hear that they are added.
        adds = key.startswith("model_config") and not text.startswith("+")
        checked.append(f"++{text}" if adds else text)
    return checked
