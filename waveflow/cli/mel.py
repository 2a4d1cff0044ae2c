"""`waveflow mel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import AUDIO_SUFFIXES, complain, find_inputs, tracked


def mel(
    inputs: Annotated[list[str], typer.Argument(help="Recordings, folders or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A mel file for one input, else a folder.")] = Path(
        "mels"
    ),
    preset: Annotated[
        str | None, typer.Option(help="nvidia, hifigan, vocos, parallelwavegan, flowavenet, nemo, ...")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Take the mel contract of this model.")] = None,
    suffix: Annotated[str, typer.Option(help=".npy, .npz, .pt or .safetensors, for a folder.")] = ".npy",
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist; else they are kept.")] = False,
) -> None:
    """Compute mel spectrograms of recordings, under a model's contract or a named convention.

    Example: `waveflow mel speech/ -o mels/ --preset nvidia`
    """
    from waveflow.audio import io
    from waveflow.audio.mel import MelConfig, MelSpectrogram
    from waveflow.audio.mel_files import write_mel
    from waveflow.checkpoints.native import load
    from waveflow.inference.loading import find_checkpoint

    if preset and model:
        raise ValueError(f"--preset {preset} and --model {model} both name a convention; give one")
    found = find_inputs(inputs, AUDIO_SUFFIXES)
    config = MelConfig.preset(preset) if preset else load(find_checkpoint(model)).mel_config
    transform = MelSpectrogram(config)
    single = output.suffix.lower() in (".npy", ".npz", ".pt", ".safetensors")
    if single and len(found) > 1:
        raise ValueError(f"--output {output} is one file, but there are {len(found)} inputs; name a folder")
    failed = False
    for item in tracked(found, "computing mels"):
        target = output if single else output / item.relative.with_suffix(suffix)
        if target.exists() and not overwrite:
            complain(f"{target} exists and is kept; --overwrite replaces it")
            continue
        try:
            audio, _ = io.read(item.path, sample_rate=config.sample_rate)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_mel(target, transform(audio))
        except (ValueError, OSError) as error:
            failed = True
            complain(f"{item.path}: {error}")
    if failed:
        raise typer.Exit(1)
