"""`waveflow preprocess`."""

from __future__ import annotations

import json as json_format
import os
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import OUTPUT, JsonOption, complain, reason_of


def preprocess(
    sources: Annotated[list[Path], typer.Argument(help="Folders of recordings, or LJSpeech's metadata.csv.")],
    output: Annotated[Path, typer.Option(*OUTPUT, help="Folder of the corpus.")],
    sample_rate: Annotated[int, typer.Option(help="Hz, of all audio written.")] = 22050,
    min_seconds: Annotated[float, typer.Option(help="Shorter recordings are set aside.")] = 0.5,
    max_seconds: Annotated[float | None, typer.Option(help="Longer recordings are set aside.")] = None,
    trim_db: Annotated[
        float | None, typer.Option(help="Cut ends so many dB below the loudest part, e.g. 40; else nothing is cut.")
    ] = None,
    loudness: Annotated[
        float | None, typer.Option(help="Bring to this loudness, LUFS, e.g. -23; else levels stay.")
    ] = None,
    max_clipped: Annotated[
        float, typer.Option(help="Share of clipped samples above which a recording is set aside.")
    ] = 5e-4,
    validation: Annotated[
        float,
        typer.Option(
            help="Share of the corpus for validation; of two recordings or more, at least one unless it is 0."
        ),
    ] = 0.05,
    test: Annotated[float, typer.Option(help="Share of the corpus for tests.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Another number splits anew.")] = 0,
    speaker: Annotated[str | None, typer.Option(help="Name of the speaker, instead of the names of folders.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 takes all CPU cores.")] = 0,
    shards: Annotated[
        Path | None, typer.Option(help="Folder for the corpus in tar shards too, for training that streams it.")
    ] = None,
    shard_megabytes: Annotated[float, typer.Option(help="Size of a shard, at most.")] = 512,
    runner: Annotated[
        str, typer.Option(help="local, or ray: Ray Data on this machine, or on the cluster of RAY_ADDRESS.")
    ] = "local",
    overwrite: Annotated[bool, typer.Option(help="Begin anew where settings changed.")] = False,
    json: JsonOption = False,
) -> None:
    """Turn recordings into a training corpus: clean audio, a manifest, and a report of what was set aside.

    Run it again to add recordings, or to go on after an interruption.

    The layouts of LJSpeech, VCTK, LibriTTS and Hi-Fi TTS are known; in other folders a speaker has a folder.

    Example: `waveflow preprocess LJSpeech-1.1 -o corpora/ljspeech --trim-db 40`

    Example: `waveflow preprocess LibriTTS -o corpora/libritts --shards /mnt/shards/libritts`
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from waveflow.data.cleaning import CleaningConfig
    from waveflow.data.preprocess import preprocess as run
    from waveflow.data.shards import write_shards

    cleaning = CleaningConfig(sample_rate, min_seconds, max_seconds, trim_db, loudness, max_clipped)
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:3], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preprocessing", total=None)
        try:
            report = run(
                sources,
                output,
                cleaning,
                validation=validation,
                test=test,
                seed=seed,
                speaker=speaker,
                workers=workers or os.cpu_count() or 1,
                runner=runner,
                overwrite=overwrite,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            if shards is not None:
                packing = bar.add_task("packing", total=None)
                packed, left_out = write_shards(
                    report.manifest,
                    shards,
                    megabytes=shard_megabytes,
                    seed=seed,
                    on_progress=lambda done, total: bar.update(packing, completed=done, total=total),
                )
        except (OSError, RuntimeError) as error:
            complain(reason_of(error))
            raise typer.Exit(1) from error
    facts = report.to_dict()
    # What is silent or too short is set aside as asked; what could not be read is a failure.
    unread = [rejected for rejected in report.rejected if rejected.reason in ("unreadable", "failed", "name")]
    for rejected in unread:
        complain(rejected.detail, Path(rejected.path))
    if shards is not None:
        facts["shards"] = {"folder": str(shards), "number": len(packed.shards), "left_out": left_out}
        for sentence in left_out:
            complain(sentence)
    if json:
        print(json_format.dumps(facts, indent=2, ensure_ascii=False))
        raise typer.Exit(1 if unread else 0)
    aside = ", ".join(f"{count} {reason}" for reason, count in facts["set_aside"].items()) or "none"
    print(f"{facts['kept']} of {facts['found']} recordings, {facts['hours']:.2f} hours, in {output / 'manifest.jsonl'}")
    print("; ".join(f"{name}: {part['clips']} clips" for name, part in facts["splits"].items()))
    print(f"set aside: {aside} (see {output / 'report.csv'})")
    if shards is not None:
        print(f"{len(packed.shards)} shards in {shards}; train on them with data.manifest={shards}")
    for note, count in facts["notes"].items():
        print(f"note: {count} {note}")
    for name in ("train", "validation"):
        if not facts["splits"][name]["clips"]:
            complain(f"no recording is in the {name} split; change --validation, --test or --seed, or add recordings")
    if unread:
        raise typer.Exit(1)
