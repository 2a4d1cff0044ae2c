"""`waveflow train`."""

from __future__ import annotations

import json as json_format
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waveflow.cli.inputs import OUTPUT, JsonOption, complain, reason_of

if TYPE_CHECKING:
    from waveflow.training import TrainConfig


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Settings that differ from the recipe's.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="A YAML file, a folder with config.yaml, or a name in ./recipes."),
    ] = None,
    output: Annotated[Path | None, typer.Option(*OUTPUT, help="Folder of the run, as `train.out` says too.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print all settings as YAML, and do nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a model, or go on with the run that is in `train.out`.

    On several GPUs or machines: `torchrun --nproc-per-node 8 --no-python waveflow train ...`

    Example: `waveflow train --recipe ljspeech model=lapglow-small data.manifest=corpus train.out=runs/lapglow`
    """
    from waveflow.training.recipe import compose

    settings = list(overrides or ())
    if output is not None:
        if any(text.lstrip("+").startswith("train.out=") for text in settings):
            raise ValueError(f"both --output {output} and train.out were given; give one")
        settings.append("train.out=later")
    config = compose(recipe, settings)
    if output is not None:
        # Past Hydra, whose grammar gives a meaning to characters that a path may have.
        config.train.out = str(output)
    if show:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(config.to_dict()), end="")
        return
    run_training(config, json)


def run_training(config: TrainConfig, json: bool) -> None:
    """Train, and end the command with exit code 1 where the run could not go on.

    Raises:
        Exit: The run could not go on, with code 1.
    """
    from waveflow.checkpoints import CheckpointError
    from waveflow.training import TrainingError
    from waveflow.training import train as train_model

    try:
        outcome = train_model(config)
    except (TrainingError, CheckpointError, OSError) as error:
        complain(reason_of(error))
        raise typer.Exit(1) from error
    if json:
        facts = {name: str(value) if name == "model" and value else value for name, value in asdict(outcome).items()}
        print(json_format.dumps({**facts, "bits": outcome.bits if math.isfinite(outcome.bits) else None}, indent=2))
