"""`waveflow evaluate`: how good syntheses are, or how good a model is."""

from __future__ import annotations

import json as json_format
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        list[Path] | None,
        typer.Argument(
            help="Synthesis, or folders of the same stems, a system each, with a vocoder's ending (`_waveflow`, "
            "`_generated`, ...) or not; without it, a model is evaluated."
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

    Systems after the first are also compared with it clip by clip.

    Example: `waveflow evaluate recordings/ vocoded/ --pictures pictures/`

    Example: `waveflow evaluate recordings/ hifigan/ lapglow/`

    Example: `waveflow evaluate recordings/ --model lapglow --griffin-lim --json`
    """
    from waveflow import metrics

    if synthesis and model is not None:
        raise ValueError(f"both a synthesis ({synthesis[0]}) and a model ({model}) were given; give one of them")
    if not synthesis and sample_rate is not None:
        raise ValueError("--sample-rate is for two folders; a model is evaluated at its own rate, leave it out")
    if synthesis and (sigma is not None or denoise or project):
        raise ValueError("--sigma, --denoise and --project are a model's; syntheses are measured as they are")
    files = metrics.find_recordings(reference)
    mel = None
    systems: dict[str, Clips] = {}
    alone: dict[str, dict[str, str]] = {}
    if synthesis:
        for name, folder in _names(synthesis).items():
            systems[name], alone[name] = metrics.match_recordings(reference, folder, sample_rate=sample_rate)
    else:
        vocoder = load_vocoder(model, device)
        mel = vocoder.config.mel
        vocode = partial(vocoder, seed=seed, sigma=sigma, denoise=denoise, project=project)
        _warm_up(vocoder, vocode)
        systems[vocoder.name or "model"] = metrics.vocode_recordings(
            files, lambda target, _: vocode(target), mel, bits_per_sample=vocoder.bits_per_sample
        )
    if griffin_lim:
        if "griffin-lim" in systems:
            raise ValueError("one of the folders is called griffin-lim, as --griffin-lim is; rename it")
        systems["griffin-lim"] = metrics.vocode_recordings(
            {stem: file for stem, file in files.items() if any(stem in clips for clips in systems.values())},
            partial(metrics.griffin_lim, seed=seed),
            mel,
            sample_rate=sample_rate,
        )
    if pictures is not None:
        _prepare(pictures)

    evaluations = _run(systems, pictures)
    for name, reasons in alone.items():
        evaluations[name].failures.update(reasons)
    first, *others = evaluations
    differences = {name: evaluations[name].difference(evaluations[first]) for name in others}
    if json:
        report = {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
        for name, summaries in differences.items():
            report[name]["difference"] = metrics.summaries_to_dict(summaries)
        print(json_format.dumps(report, indent=2))
    elif any(evaluation.clips for evaluation in evaluations.values()):
        from rich.console import Console

        n_clips = max(len(evaluation.clips) for evaluation in evaluations.values())
        summaries_of = {name: evaluation.summary() for name, evaluation in evaluations.items()}
        Console().print(_table(summaries_of, n_clips, f"{n_clips} clips, mean [95 % interval]"))
        if any(differences.values()):
            Console().print(_table(differences, n_clips, f"less {first}, clip by clip, mean [95 % interval]"))
    for system, evaluation in evaluations.items():
        _report(system, evaluation)
    if any(evaluation.failures for evaluation in evaluations.values()):
        raise typer.Exit(1)


def _names(syntheses: Sequence[Path]) -> dict[str, Path]:
    """What to call each; one alone is `synthesis`, several go by their folders."""
    if len(syntheses) == 1:
        return {"synthesis": syntheses[0]}
    names: dict[str, Path] = {}
    for path in syntheses:
        if path.is_file():
            raise ValueError(f"{path} is a file among several syntheses; give a folder a system, or one pair of files")
        name = path.resolve().name
        if name in names:
            raise ValueError(
                f"{names[name]} and {path} are both called {name}; rename one, for systems go by their folder"
            )
        names[name] = path
    return names


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


def _table(systems: Mapping[str, Mapping[str, Summary]], n_clips: int, title: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title))
    for column in ("figure", "better"):
        table.add_column(column, no_wrap=True)
    for system in systems:
        table.add_column(escape(system), justify="right")
    for name, (label, digits, better) in FIGURES.items():
        if any(name in summaries for summaries in systems.values()):
            cells = [_cell(summaries.get(name), digits, n_clips) for summaries in systems.values()]
            table.add_row(label, better, *map(escape, cells))
    return table


def _cell(summary: Summary | None, digits: int, n_clips: int) -> str:
    """Mean and interval, and of how many clips where it is not all."""
    if summary is None or not summary.n:
        return "-"
    cell = f"{summary.mean:.{digits}f}"
    if summary.n > 1:
        cell += f" [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"
    return cell if summary.n == n_clips else f"{cell} ({summary.n} of {n_clips})"


def _report(system: str, evaluation: Evaluation) -> None:
    """Every failure by name, and the notes, those that many clips share once."""
    texts = {stem: scores.notes.items() for stem, scores in evaluation.clips.items()}
    counts = Counter(note for notes in texts.values() for note in notes)
    for (figure, note), count in counts.items():
        first = next(stem for stem, notes in texts.items() if (figure, note) in notes)
        complain(f"{system}, {f'{count} clips' if count > 1 else first}, {figure}: {note}")
    for stem, reason in evaluation.failures.items():
        complain(f"{system}, {stem}: {reason}")
