"""`waveflow mel`."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waveflow.audio.suffixes import AUDIO_SUFFIXES, MEL_SUFFIXES
from waveflow.cli.inputs import OUTPUT, Input, JsonOption, complain, find_inputs, reason_of, tracked

if TYPE_CHECKING:
    from waveflow.audio.mel import MelConfig


def mel(
    inputs: Annotated[list[str], typer.Argument(help="Recordings, folders or globs.")],
    output: Annotated[Path, typer.Option(*OUTPUT, help="A mel file for one input, else a folder.")] = Path("mels"),
    preset: Annotated[
        str | None,
        typer.Option("--preset", "--mel", help="nvidia, hifigan, vocos, parallelwavegan, flowavenet, nemo, ..."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Take the mel contract of this model.")] = None,
    suffix: Annotated[str, typer.Option(help=f"{', '.join(MEL_SUFFIXES)}; for a folder.")] = ".npy",
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist; else they are kept.")] = False,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="The inputs are mels: tell which convention each follows.")
    ] = False,
    recording: Annotated[
        Path | None, typer.Option("--audio", help="With --doctor, the recording that the mel was computed of.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compute mel spectrograms of recordings, under a model's contract or a named convention.

    Example: `waveflow mel speech/ -o mels/ --preset nvidia`, or `waveflow mel --doctor strange.npy`
    """
    from waveflow.audio import io
    from waveflow.audio.mel import MelConfig, MelSpectrogram
    from waveflow.audio.mel_files import write_mel
    from waveflow.checkpoints.native import read_mel_config
    from waveflow.inference.loading import find_checkpoint

    if preset and model:
        raise ValueError(f"--preset {preset} and --model {model} both name a convention; give one")
    if (recording or json) and not doctor:
        raise ValueError("--audio and --json belong to --doctor; add it or leave them out")
    found = find_inputs(inputs, MEL_SUFFIXES if doctor else AUDIO_SUFFIXES)
    config = MelConfig.preset(preset) if preset else read_mel_config(find_checkpoint(model))
    if doctor:
        _diagnose(found, config, recording, json)
        return
    transform = MelSpectrogram(config)
    single = output.suffix.lower() in MEL_SUFFIXES
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
            complain(reason_of(error), item.path)
    if failed:
        raise typer.Exit(1)


def _diagnose(found: list[Input], config: MelConfig, recording: Path | None, json: bool) -> None:
    from waveflow.audio import io
    from waveflow.audio.mel_doctor import diagnose
    from waveflow.audio.mel_files import read_mel

    if recording and len(found) > 1:
        raise ValueError(f"--audio {recording} is of one mel, but there are {len(found)}; give one")
    n_samples = io.read(recording, sample_rate=config.sample_rate)[0].shape[-1] if recording else None
    rows, failed = [], False
    for item in found:
        try:
            diagnosis = diagnose(read_mel(item.path), config, n_samples)
        except (ValueError, OSError) as error:
            failed = True
            complain(reason_of(error), item.path)
            continue
        rows.append({"path": str(item.path), **asdict(diagnosis)})
        if not json:
            print(f"{item.path}: {diagnosis}")
    if json:
        print(json_format.dumps(rows, indent=2))
    if failed:
        raise typer.Exit(1)
