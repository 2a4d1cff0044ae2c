"""What the commands share: finding files, loading models, reporting."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from waveflow.audio.suffixes import AUDIO_SUFFIXES

if TYPE_CHECKING:
    from waveflow.inference import Vocoder

STDIN = "-"
# What `io.write` makes.
SOUND_FILES = (".wav", ".flac")
# `waveflow.inference.backends.BACKENDS`, which would import PyTorch before any help is printed.
BACKENDS = ("auto", "reference", "compile", "triton", "cuda", "onednn")

# Where a command writes is named the same way in each of them.
OUTPUT = ("--output", "-o", "--out")

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Bundled model, checkpoint directory or training run; the bundled LapGlow."),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.")]
BackendOption = Annotated[
    str, typer.Option(help=f"Who computes the inverse: {', '.join(BACKENDS)}; auto takes the fastest that runs here.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

Item = TypeVar("Item")


class Input(NamedTuple):
    """A file to work on, and where it lies below what the user named."""

    path: Path
    relative: Path


def find_inputs(names: Iterable[str], suffixes: Sequence[str]) -> list[Input]:
    """Files that names mean: files themselves, folders searched through, globs expanded; sorted, each once.

    Raises:
        ValueError: A name matches nothing.
    """
    found: dict[Path, Input] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
            matches = [Input(p, p.relative_to(path)) for p in inside]
        elif path.exists():
            matches = [Input(path, Path(path.name))]
        else:
            hits = (Path(p) for p in sorted(glob.glob(name, recursive=True)))
            matches = [Input(p, Path(p.name)) for p in hits if p.is_file()]
        if not matches:
            raise ValueError(f"nothing to read at {name}: no such file, or no {', '.join(suffixes)} in it")
        for match in matches:
            found.setdefault(match.path.resolve(), match)
    return list(found.values())


def load_vocoder(model: str | None, device: str, dtype: str = "float32", backend: str = "auto") -> Vocoder:
    """`waveflow.load` with options as the user typed them.

    Raises:
        ValueError: Unknown model, device, dtype or backend.
    """
    from waveflow.inference import load

    try:
        return load(model, device=device, dtype=dtype, backend=backend)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} and backend {backend!r} cannot be used: {reason}") from error


def tracked(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Go through `items` under a progress bar on stderr, where there are several and a person is watching."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, description, console=console, disable=len(items) < 2 or not console.is_terminal))


def check_output(output: Path, *, folder: bool) -> None:
    """Refuse, before any work, a place where no audio can be written.

    Args:
        output: What the user named.
        folder: Whether it may be a folder too.

    Raises:
        ValueError: It is called like another kind of sound file, or there is a file where a folder is needed.
    """
    suffix = output.suffix.lower()
    if suffix in SOUND_FILES or str(output) == STDIN:
        return
    if not folder:
        raise ValueError(f"--output is {output}, expected a .wav or .flac file, or - for stdout")
    if suffix in AUDIO_SUFFIXES and not output.is_dir():
        raise ValueError(f"--output is {output}, expected a .wav or .flac file, a folder, or - for stdout")
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file, expected a .wav or .flac file, a folder, or - for stdout")


def one_of(argument: Path | None, option: Path | None, name: str) -> Path:
    """The place to write that was named, as an argument or with an option.

    Raises:
        ValueError: None was named, or both.
    """
    if argument is None:
        if option is None:
            raise ValueError(f"no place to write was given; name a directory, as {name} or with -o")
        return option
    if option is not None:
        raise ValueError(f"both {argument} and -o {option} name the place to write; give one")
    return argument


def reason_of(error: Exception) -> str:
    """What an exception says, in one line: an operating system's with the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    told = error.strerror or str(error)
    return f"{error.filename}: {told}" if error.filename else told


def complain(message: str, of: Path | None = None) -> None:
    """Say on stderr what went wrong, and with which file unless the message names it."""
    named = of is None or str(of) in message
    print(f"waveflow: {message}" if named else f"waveflow: {of}: {message}", file=sys.stderr)
