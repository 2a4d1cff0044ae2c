"""`waveflow tts`."""

from __future__ import annotations

import json as json_format
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import (
    OUTPUT,
    STDIN,
    DeviceOption,
    JsonOption,
    ModelOption,
    check_output,
    complain,
    load_vocoder,
)


def tts(
    text: Annotated[str, typer.Argument(help="What to say, in English; - reads it from stdin.")],
    output: Annotated[Path, typer.Option(*OUTPUT, help="A .wav or .flac file; - is stdout.")] = Path("speech.wav"),
    model: ModelOption = None,
    sigma: Annotated[float | None, typer.Option(help="Standard deviation of the latent; the model's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise, and of the acoustic model's dropout.")] = 0,
    denoise: Annotated[float, typer.Option(help="Strength of the subtraction of the model's bias.")] = 0.0,
    project: Annotated[int, typer.Option(help="Rounds of projection onto the mel.")] = 1,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the weights of Tacotron 2 where they are not in torch's cache.")
    ] = False,
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
    json: JsonOption = False,
) -> None:
    """Speak a text: torchaudio's Tacotron 2, then the vocoder.

    Example: `waveflow tts "The flow runs backwards." -o flow.wav --download`
    """
    to_stdout = str(output) == STDIN
    check_output(output, folder=False)
    if not to_stdout and output.exists() and not overwrite:
        raise ValueError(f"{output} exists and is kept; --overwrite replaces it")
    if json and to_stdout:
        raise ValueError("--json and the audio would both go to stdout; name a file with --output")
    from waveflow.adapters.tacotron2 import Speaker
    from waveflow.audio import io

    words = sys.stdin.read() if text == STDIN else text
    speaker = Speaker(load_vocoder(model, device), download=download, sigma=sigma, denoise=denoise, project=project)
    unspoken = speaker.unspoken(words)
    if unspoken:
        complain(f"left out, for Tacotron 2 was not taught them: {unspoken}; write numbers as words")
    start = time.perf_counter()
    audio = speaker(words, seed=seed).cpu()
    taken = time.perf_counter() - start
    rate = speaker.vocoder.sample_rate
    if not to_stdout:
        output.parent.mkdir(parents=True, exist_ok=True)
    io.write(sys.stdout.buffer if to_stdout else output, audio, rate)
    facts = {"output": str(output), "seconds": len(audio) / rate, "x_real_time": len(audio) / rate / taken}
    if json:
        print(json_format.dumps({**facts, "left_out": unspoken}, indent=2))
    else:
        print(f"{output}: {facts['seconds']:.2f} s of audio, {facts['x_real_time']:.1f} x real time", file=sys.stderr)
