"""`waveflow export`."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import OUTPUT, JsonOption, ModelOption, complain, one_of


def export(
    directory: Annotated[Path | None, typer.Argument(help="Directory to write.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(*OUTPUT, help="The same, as an option.")] = None,
    model: ModelOption = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", "-f", help="onnx, torch or aoti; repeatable. onnx unless given.")
    ] = None,
    from_audio: Annotated[
        bool, typer.Option("--from-audio", help="Take recordings and compute their mel inside, instead of mels.")
    ] = False,
    draw_noise: Annotated[
        bool, typer.Option("--draw-noise", help="Take a seed and draw the noise inside, instead of noise.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a model for other runtimes; each file is proved to sound like the model, or nothing is written.

    onnx runs in ONNX Runtime, in a browser too; torch is a torch.export program; aoti is compiled for this machine.

    Example: `waveflow export exported/ --format onnx --format torch`
    """
    from rich.console import Console
    from rich.table import Table

    from waveflow.checkpoints import CheckpointError
    from waveflow.checkpoints.native import load, read_facts
    from waveflow.inference.export import export as export_model
    from waveflow.inference.loading import find_checkpoint

    target = one_of(directory, output, "DIRECTORY")
    path = find_checkpoint(model)
    flow, told = load(path), read_facts(path)
    try:
        # Exporting turns sys.stderr elsewhere, where Console(stderr=True) would follow.
        with Console(file=sys.stderr).status("exporting and proving"):
            files = export_model(
                flow,
                target,
                formats=formats or ["onnx"],
                from_audio=from_audio,
                draw_noise=draw_noise,
                metadata={**told["metadata"], "weights_sha256": told["weights_sha256"]},
            )
    except CheckpointError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    if json:
        print(json_format.dumps([asdict(file) for file in files], indent=2))
        return
    table = Table(box=None, title=f"{target}, for {files[0].min_frames} frames or more")
    for column in ("file", "MB", "dB like the model", "x real time"):
        table.add_column(column, justify="left" if column == "file" else "right")
    for file in files:
        table.add_row(file.file, f"{file.size / 1e6:.1f}", f"{file.snr:.1f}", f"{file.x_real_time:.1f}")
    Console().print(table)
