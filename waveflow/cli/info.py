"""`waveflow info`."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from waveflow.cli.inputs import JsonOption


def info(
    model: Annotated[
        str | None, typer.Argument(help="Bundled model, checkpoint directory, training run, or a name of the registry.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Describe a model: parameters, cost, receptive field, mel contract, and how it was trained.

    Example: `waveflow info lapglow`, or `waveflow info waveglow-256` for a size without weights
    """
    from waveflow.checkpoints.native import load, read_facts
    from waveflow.inference.loading import bundled_models, find_checkpoint
    from waveflow.models import build, config_to_dict, is_registered, model_name
    from waveflow.models.cost import cost

    facts: dict = {}
    if model is not None and model not in bundled_models() and is_registered(model):
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
    _print(found)


def _print(found: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    rate = found["config"]["mel"]["sample_rate"]
    table = Table(box=None, show_header=False, title=found["model"], title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("parameters", f"{found['parameters'] / 1e6:.2f} M")
    table.add_row("cost", f"{found['gmac_per_second']:.3g} GMAC per second of audio")
    reach = found["receptive_field"]
    table.add_row(
        "receptive field", "unbounded" if reach is None else f"{reach} samples ({reach / rate:.3f} s) on each side"
    )
    for section in ("config", "metadata"):
        for name, value in found[section].items():
            table.add_row(*_row(name, value))
    Console(markup=False).print(table)


def _row(name: str, value: object) -> tuple[str, str]:
    if isinstance(value, dict):
        return name, "\n".join(f"{key}: {part}" for key, part in value.items() if part is not None)
    if isinstance(value, list) and len(value) > 8:
        return name, f"{len(value)}: {value[0]} ... {value[-1]}"
    return name, str(value)
