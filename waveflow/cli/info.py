"""`waveflow info`."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from waveflow.cli.inputs import JsonOption


def info(
    model: Annotated[
        str | None, typer.Argument(help="Bundled model, checkpoint directory, or a name of the registry.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Describe a model: parameters, cost, receptive field, mel contract, and how it was trained.

    Example: `waveflow info lapglow`, or `waveflow info waveglow-256` for a size without weights
    """
    from waveflow.checkpoints.native import load, read_facts
    from waveflow.inference.loading import bundled_models, find_checkpoint
    from waveflow.models import MODELS, SIZES, build, config_to_dict, model_name
    from waveflow.models.cost import cost

    facts: dict = {}
    if model is not None and model not in bundled_models() and model in (*MODELS, *SIZES):
        flow = build(model)
    else:
        path = find_checkpoint(model)
        flow, facts = load(path), read_facts(path)
    found = {
        "model": model_name(flow),
        **cost(flow),
        "config": config_to_dict(flow.config),
        "metadata": facts.get("metadata", {}),
    }
    if json:
        print(json_format.dumps(found, indent=2))
        return
    from rich import print_json

    print_json(data=found)
