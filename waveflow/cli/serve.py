"""`waveflow serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import BackendOption, DeviceOption, ModelOption, load_vocoder
from waveflow.extras import MissingExtra

TOKEN_VARIABLE = "WAVEFLOW_TOKEN"


def serve(
    model: ModelOption = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    backend: BackendOption = "auto",
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that clients must send; else ${TOKEN_VARIABLE}, else none."),
    ] = None,
    max_requests: Annotated[int, typer.Option(help="Requests at a time; more are answered 429.")] = 128,
    max_streams: Annotated[int, typer.Option(help="WebSockets at a time.")] = 16,
    max_seconds: Annotated[float, typer.Option(help="Longest audio of a request.")] = 60.0,
    max_body_mb: Annotated[float, typer.Option(help="Largest body, MiB.")] = 16.0,
    batch_window_ms: Annotated[float, typer.Option(help="How long a request may wait for company.")] = 5.0,
    max_batch_frames: Annotated[int, typer.Option(help="Mel frames of a batch, padding included.")] = 4096,
    drain_seconds: Annotated[float, typer.Option(help="For work at hand to finish after SIGTERM.")] = 30.0,
) -> None:
    """Serve a model over HTTP: mels or recordings in, speech out, streams over WebSockets; see /docs of the server.

    Example: `waveflow serve --port 8000` and `curl --data-binary @speech.wav localhost:8000/v1/vocode -o out.wav`
    """
    try:
        from waveflow.serve import ServeConfig, create_app
        from waveflow.serve.run import run
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "fastapi", "serve") from error

    config = ServeConfig(
        max_body_bytes=int(max_body_mb * (1 << 20)),
        max_seconds=max_seconds,
        max_requests=max_requests,
        max_streams=max_streams,
        batch_window_ms=batch_window_ms,
        max_batch_frames=max_batch_frames,
        drain_seconds=drain_seconds,
        token=_token(token_file),
    )
    run(create_app(load_vocoder(model, device, dtype, backend), config), host, port)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the token file {file} cannot be read: {error}") from error
