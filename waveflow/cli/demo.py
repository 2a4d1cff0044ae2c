"""`waveflow demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from waveflow.cli.inputs import DeviceOption
from waveflow.extras import MissingExtra


def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Bundled model, checkpoint directory or training run; repeatable. The bundled ones."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one from 7860 on.")] = 0,
    device: DeviceOption = "auto",
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page to hear models resynthesise recordings or speak mels, and to see where they find speech likely.

    What is uploaded stays on this machine, and the page loads nothing from elsewhere.

    Example: `waveflow demo --model my_voice/ --model lapglow`
    """
    try:
        from waveflow.demo.page import build, launch
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "gradio", "demo") from error
    from waveflow.inference import bundled_models, load
    from waveflow.inference.loading import DEFAULT_MODEL, find_checkpoint

    models = model or sorted(bundled_models(), key=lambda name: name != DEFAULT_MODEL)
    for name in models:
        find_checkpoint(name)
    page = build(models, lambda name: load(name, device=device))
    typer.echo("serving the demo; Ctrl+C ends it", err=True)
    launch(page, host, port, open_browser=open_browser)
