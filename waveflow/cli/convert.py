"""`waveflow convert`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waveflow.cli.inputs import JsonOption, complain

if TYPE_CHECKING:
    from waveflow.checkpoints import Conversion


def convert(
    source: Annotated[Path, typer.Argument(help="A .pt, .safetensors or .nemo file with a WaveGlow.")],
    destination: Annotated[Path, typer.Argument(help="Directory to write.")],
    swap_halves: Annotated[
        bool, typer.Option("--swap-halves", help="The file is waveglow_old.pt, of the earliest release.")
    ] = False,
    mel: Annotated[
        str | None, typer.Option(help="Mel preset; nvidia unless given, or what a .nemo file states.")
    ] = None,
    sample_rate: Annotated[int | None, typer.Option(help="Hz, where not that of the preset.")] = None,
    hop_length: Annotated[int | None, typer.Option(help="Samples, where not that of the preset.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Default temperature of the model.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write half precision: half the size.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Turn a WaveGlow of NVIDIA, DeepLearningExamples, torch.hub or NeMo into a native checkpoint.

    Nothing in the file is executed; the result is proved to invert before it is written.

    Example: `waveflow convert waveglow_256channels_universal_v5.pt universal`
    """
    import torch
    from rich.console import Console

    from waveflow import checkpoints

    try:
        with Console(stderr=True).status(f"reading and proving {source}"):
            report = checkpoints.convert(
                source,
                destination,
                swap_halves=swap_halves,
                mel=mel,
                sample_rate=sample_rate,
                hop_length=hop_length,
                sigma=sigma,
                dtype=torch.float16 if half else None,
                overwrite=overwrite,
            )
    except checkpoints.CheckpointError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    if json:
        print(json_format.dumps(report.to_dict(), indent=2))
    else:
        _print_report(report)


def _print_report(report: Conversion) -> None:
    from rich.console import Console
    from rich.table import Table

    config, mel, proof = report.config, report.config["mel"], report.proof
    keys = ("n_flows", "n_group", "n_early_every", "n_early_size", "n_channels", "n_layers", "kernel_size")
    norm = "with" if report.weight_norm else "without"
    rows = {
        "found": f"{report.format}, {report.source_dtype}",
        "layers": f"named as in generation {report.generation}, {norm} weight norm",
        "config": ", ".join(f"{key} {config[key]}" for key in (*keys, "upsample_kernel_size")),
        "mel": ", ".join(f"{key} {mel[key]}" for key in ("n_mels", "sample_rate", "hop_length", "n_fft")),
        "parameters": f"{report.n_parameters:,}",
        "round trip": f"{proof.round_trip_float64:.1e} in float64, {proof.round_trip_float32:.1e} in float32",
        "log_det": f"{proof.jacobian_error:.1e} from autograd's Jacobian",
        "1x1 condition": f"{proof.worst_condition:.1f} at worst",
        **{"note" if i == 0 else f"note {i + 1}": note for i, note in enumerate(report.notes)},
        "written": report.destination,
    }
    table = Table(show_header=False, box=None)
    for key, value in rows.items():
        table.add_row(key, value)
    Console().print(table)
