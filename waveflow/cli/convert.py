"""`waveflow convert`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waveflow.cli.inputs import OUTPUT, JsonOption, complain, one_of

if TYPE_CHECKING:
    from waveflow.checkpoints import Conversion


def convert(
    source: Annotated[Path, typer.Argument(help="A .pt, .safetensors, .nemo or .pdparams file.")],
    destination: Annotated[Path | None, typer.Argument(help="Directory to write.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(*OUTPUT, help="The same, as an option.")] = None,
    swap_halves: Annotated[
        bool, typer.Option("--swap-halves", help="The file is waveglow_old.pt, of the earliest release.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A field of the config that no weight tells; repeatable."),
    ] = None,
    mel: Annotated[
        str | None, typer.Option("--mel", "--preset", help="Mel preset; the project's own unless given.")
    ] = None,
    sample_rate: Annotated[int | None, typer.Option(help="Hz, where not that of the preset.")] = None,
    hop_length: Annotated[int | None, typer.Option(help="Samples, where not that of the preset.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Default standard deviation of the latent.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write half precision: half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Turn another project's checkpoint into a native one.

    Known are WaveGlow of NVIDIA, DeepLearningExamples, torch.hub and NeMo, SqueezeWave, FloWaveNet, and WaveFlow of
    L0SG and PaddleSpeech. Nothing in the file is executed; the result is proved to invert before it is written.

    Example: `waveflow convert waveglow_256channels_universal_v5.pt universal`
    """
    import torch
    from rich.console import Console

    from waveflow import checkpoints

    options, target = _options(set_ or []), one_of(destination, output, "DESTINATION")
    try:
        with Console(stderr=True).status(f"reading and proving {source}"):
            report = checkpoints.convert(
                source,
                target,
                swap_halves=swap_halves,
                options=options,
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


def _options(settings: list[str]) -> dict[str, int | str]:
    options: dict[str, int | str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r} is no setting, expected KEY=VALUE", param_hint="--set")
        options[key] = int(value) if value.isdecimal() else value
    return options


def _print_report(report: Conversion) -> None:
    from rich.console import Console
    from rich.table import Table

    config, mel, proof = report.config, report.config["mel"], report.proof
    norm = f"{'with' if report.weight_norm else 'without'} weight norm"
    generation = f"named as in generation {report.generation}, " if report.generation else ""
    rows = {
        "found": f"{report.format}, {report.source_dtype}",
        "model": report.model,
        "layers": generation + norm,
        "config": ", ".join(f"{key} {value}" for key, value in config.items() if key not in ("mel", "sigma")),
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
