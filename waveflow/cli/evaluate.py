"""`waveflow evaluate`: how good syntheses are, or how good a model is."""

from __future__ import annotations

import json as json_format
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from waveflow.cli.inputs import DeviceOption, JsonOption, ModelOption, complain, load_vocoder
from waveflow.extras import require

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from waveflow.inference import Vocoder
    from waveflow.metrics import Clip, Evaluation, Summary

FIGURES = {
    "mr_stft": ("MR-STFT", 3, "low"),
    "log_mel_l1": ("log-mel L1", 3, "low"),
    "mcd": ("MCD, dB", 2, "low"),
    "f0_rmse_cents": ("F0 RMSE, cents", 1, "low"),
    "f0_rmse_hz": ("F0 RMSE, Hz", 2, "low"),
    "vuv_f1": ("V/UV F1", 3, "high"),
    "periodicity_rmse": ("periodicity RMSE", 3, "low"),
    "pesq": ("PESQ, wide band", 3, "high"),
    "stoi": ("STOI", 3, "high"),
    "gain_db": ("level, dB", 2, "0"),
    "offset_ms": ("offset, ms", 1, "0"),
    "bits_per_sample": ("bits per sample", 3, "low"),
    "x_real_time": ("x real time", 1, "high"),
}

Clips = dict[str, "Callable[[], Clip]"]


def evaluate(
    reference: Annotated[Path, typer.Argument(help="Recording, or folder of recordings.")],
    synthesis: Annotated[
        Path | None,
        typer.Argument(
            help="Synthesis, or folder of the same stems, with `_waveflow` or not; without it, a model is evaluated."
        ),
    ] = None,
    model: ModelOption = None,
    sigma: Annotated[float | None, typer.Option(help="Standard deviation of the model's latent.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the model's noise and of Griffin-Lim's phases.")] = 0,
    denoise: Annotated[float, typer.Option(help="Strength of the subtraction of the model's bias.")] = 0.0,
    project: Annotated[int, typer.Option(help="Rounds of projection onto the mel.")] = 0,
    device: DeviceOption = "auto",
    griffin_lim: Annotated[
        bool, typer.Option("--griffin-lim", help="Add Griffin-Lim, 60 iterations, on the same mels.")
    ] = False,
    sample_rate: Annotated[
        int | None, typer.Option(help="Compare two folders at this rate, Hz; a model has its own.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a picture a clip: reference, synthesis, difference.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure syntheses against recordings, or a model on recordings.

    Example: `waveflow evaluate recordings/ vocoded/ --pictures pictures/`

    Example: `waveflow evaluate recordings/ --model lapglow --griffin-lim --json`
    """
    from waveflow import metrics

    if synthesis is not None and model is not None:
        raise ValueError(f"both a synthesis ({synthesis}) and a model ({model}) were given; give one of them")
    if synthesis is None and sample_rate is not None:
        raise ValueError("--sample-rate is for two folders; a model is evaluated at its own rate, leave it out")
    files = metrics.find_recordings(reference)
    mel = None
    if synthesis is not None:
        clips, alone = metrics.match_recordings(reference, synthesis, sample_rate=sample_rate)
        systems = {"synthesis": clips}
    else:
        vocoder, alone = load_vocoder(model, device), {}
        mel = vocoder.config.mel
        vocode = partial(vocoder, seed=seed, sigma=sigma, denoise=denoise, project=project)
        _warm_up(vocoder, vocode)
        clips = metrics.vocode_recordings(
            files, lambda target, _: vocode(target), mel, bits_per_sample=vocoder.bits_per_sample
        )
        systems = {vocoder.name or "model": clips}
    if griffin_lim:
        systems["griffin-lim"] = metrics.vocode_recordings(
            {stem: files[stem] for stem in clips},
            partial(metrics.griffin_lim, seed=seed),
            mel,
            sample_rate=sample_rate,
        )
    if pictures is not None:
        _prepare(pictures)

    evaluations = _run(systems, pictures)
    next(iter(evaluations.values())).failures.update(alone)
    if json:
        report = {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
        print(json_format.dumps(report, indent=2))
    elif any(evaluation.clips for evaluation in evaluations.values()):
        from rich.console import Console

        Console().print(_table(evaluations))
    for system, evaluation in evaluations.items():
        _report(system, evaluation)
    if any(evaluation.failures for evaluation in evaluations.values()):
        raise typer.Exit(1)


def _warm_up(vocoder: Vocoder, vocode: Callable[[Tensor], Tensor]) -> None:
    """Make a second of noise: the first call pays for allocations, which x real time leaves out."""
    import torch

    vocode(vocoder.mel(0.01 * torch.randn(vocoder.config.mel.sample_rate)))


def _prepare(pictures: Path) -> None:
    require("matplotlib", "metrics")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {pictures}: {error.strerror}; choose another") from error


def _run(systems: Mapping[str, Clips], pictures: Path | None) -> dict[str, Evaluation]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, TaskID

    from waveflow.metrics import evaluate_clips

    evaluations = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for system, clips in systems.items():
            task = progress.add_task(escape(system), total=len(clips))

            def after(stem: str, clip: Clip | None, system: str = system, task: TaskID = task) -> None:
                if clip is not None and pictures is not None:
                    _draw(pictures / f"{stem}.{system}.png".replace("/", "_"), f"{stem}, {system}", clip)
                progress.advance(task)

            evaluations[system] = evaluate_clips(clips, on_clip=after)
    return evaluations


def _draw(path: Path, title: str, clip: Clip) -> None:
    from waveflow.metrics import evaluation_mel, save_comparison

    save_comparison(path, clip.reference, clip.synthesis, evaluation_mel(clip.sample_rate), title=title)


def _table(evaluations: Mapping[str, Evaluation]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    summaries = {name: evaluation.summary() for name, evaluation in evaluations.items()}
    n_clips = max(len(evaluation.clips) for evaluation in evaluations.values())
    table = Table(title=f"{n_clips} clips, mean [95 % interval]")
    for column in ("figure", "better", *summaries):
        justify: Literal["left", "right"] = "left" if column in ("figure", "better") else "right"
        table.add_column(escape(column), justify=justify, no_wrap=True)
    for name, (label, digits, better) in FIGURES.items():
        if any(name in summary for summary in summaries.values()):
            cells = [_cell(summary.get(name), digits) for summary in summaries.values()]
            table.add_row(label, better, *map(escape, cells))
    return table


def _cell(summary: Summary | None, digits: int) -> str:
    if summary is None or not summary.n:
        return "-"
    if summary.n == 1:
        return f"{summary.mean:.{digits}f}"
    return f"{summary.mean:.{digits}f} [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"


def _report(system: str, evaluation: Evaluation) -> None:
    """Every failure by name, and the notes, those that many clips share once."""
    texts = {stem: scores.notes.items() for stem, scores in evaluation.clips.items()}
    counts = Counter(note for notes in texts.values() for note in notes)
    for (figure, note), count in counts.items():
        first = next(stem for stem, notes in texts.items() if (figure, note) in notes)
        complain(f"{system}, {f'{count} clips' if count > 1 else first}, {figure}: {note}")
    for stem, reason in evaluation.failures.items():
        complain(f"{system}, {stem}: {reason}")
