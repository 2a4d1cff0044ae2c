"""`waveflow score`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from typing import Annotated

import typer

from waveflow.audio.suffixes import AUDIO_SUFFIXES
from waveflow.cli.inputs import (
    DeviceOption,
    JsonOption,
    ModelOption,
    complain,
    find_inputs,
    load_vocoder,
    reason_of,
    tracked,
)


def score(
    inputs: Annotated[list[str], typer.Argument(help="Recordings, folders or globs.")],
    model: ModelOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Tell how likely recordings are under the model, and flag the odd ones.

    Flags: silent, as mixed to mono; clipped; rate, below the model's; incompressible, at more than the 16 bits a sample
    of plain PCM; unlikely, far from the median of all that are given.

    Example: `waveflow score recordings/`
    """
    from waveflow.inference.score import flag_unlikely, score_file

    vocoder = load_vocoder(model, device)
    scores, failures = [], {}
    for item in tracked(find_inputs(inputs, AUDIO_SUFFIXES), "scoring"):
        try:
            scores.append(score_file(vocoder, item.path))
        except (ValueError, OSError) as error:
            failures[str(item.path)] = reason_of(error)
            complain(reason_of(error))
    flag_unlikely(scores)
    if json:
        rows = [{**asdict(row), "path": str(row.path)} for row in scores]
        print(json_format.dumps({"model": vocoder.name, "files": rows, "failures": failures}, indent=2))
    elif scores:
        _print_table(scores)
    if failures:
        raise typer.Exit(1)


def _print_table(scores: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    table.add_column("file", overflow="fold")
    table.add_column("flags")
    for name in ("seconds", "Hz", "peak", "nats/sample", "bits/sample"):
        table.add_column(name, justify="right")
    for row in sorted(scores, key=lambda s: s.bits):
        figures = (
            f"{row.seconds:.2f}",
            f"{row.sample_rate}",
            f"{row.peak:.3f}",
            f"{row.nats:.3f}",
            f"{row.bits:.3f}",
        )
        table.add_row(str(row.path), " ".join(row.flags), *figures)
    Console().print(table)
