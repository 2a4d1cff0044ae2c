"""The console command: one subcommand a file, imported only when it is called for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from waveflow.cli.inputs import complain, reason_of
from waveflow.extras import MissingExtra

COMMANDS = {
    "vocode": "Turn mels or recordings into speech.",
    "tts": "Speak a text with torchaudio's Tacotron 2.",
    "mel": "Compute mel spectrograms of recordings.",
    "score": "Tell how likely recordings are, and flag the odd ones of a folder.",
    "info": "Describe a model: size, cost, mel contract, history.",
    "convert": "Turn a checkpoint of another project into a native one, safely.",
    "preprocess": "Turn a folder of recordings into a training corpus.",
    "train": "Train a model.",
    "finetune": "Adapt a model to a speaker.",
    "evaluate": "Measure synthesis against recordings.",
    "bench": "Measure speed on this machine.",
    "export": "Write a model for other runtimes.",
    "serve": "Serve a model over HTTP.",
    "demo": "Open a page to try a model.",
}


class LazyCommands(TyperGroup):
    """Subcommands by name, each imported from `waveflow.cli.<name>` when needed."""

    def list_commands(self, ctx: object) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        function = getattr(importlib.import_module(f"waveflow.cli.{cmd_name}"), cmd_name)
        app.command(cmd_name)(function)
        command = get_command(app)
        command.name = cmd_name
        command.short_help = COMMANDS[cmd_name]
        return command


app = typer.Typer(
    cls=LazyCommands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        from waveflow._version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def waveflow(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Mel spectrograms to speech with normalizing flows, and speech to exact likelihoods."""


def main() -> None:
    """Run the command; a mistake of the caller's ends in one line on stderr and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except (OSError, ValueError, MissingExtra) as error:
        complain(reason_of(error))
        sys.exit(2)


if __name__ == "__main__":
    main()
