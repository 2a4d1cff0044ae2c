"""`waveflow vocode`."""

from __future__ import annotations

import json as json_format
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waveflow.audio.suffixes import AUDIO_SUFFIXES, MEL_SUFFIXES, VOCODED
from waveflow.cli.inputs import (
    OUTPUT,
    SOUND_FILES,
    STDIN,
    BackendOption,
    DeviceOption,
    Input,
    JsonOption,
    ModelOption,
    check_output,
    complain,
    find_inputs,
    load_vocoder,
    reason_of,
    tracked,
)

if TYPE_CHECKING:
    from waveflow.inference import Vocoder


def vocode(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Recordings (their mel is computed first), mels (.npy .npz .pt .safetensors), folders, globs; "
            "- reads a recording from stdin."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(*OUTPUT, help="A .wav or .flac file for one input, else a folder; - is stdout."),
    ] = None,
    model: ModelOption = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, help="Standard deviation of the latent; the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the noise.")] = 0,
    denoise: Annotated[
        float, typer.Option(min=0, help="Strength of the subtraction of the model's bias, e.g. 0.01.")
    ] = 0.0,
    project: Annotated[int, typer.Option(min=0, help="Rounds of projection onto the mel.")] = 0,
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    backend: BackendOption = "auto",
    subtype: Annotated[str, typer.Option(help="PCM_16, PCM_24 or FLOAT.")] = "PCM_16",
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist; else they are kept.")] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Speak while the input still comes, from stdin unless a file is named: raw float32 mel frames, .npy "
            "or WAV become raw 16-bit PCM on stdout or in --output.",
        ),
    ] = False,
    look_ahead: Annotated[
        int | None, typer.Option(help="With --stream, mel frames to wait for; all that can matter unless given.")
    ] = None,
    wav: Annotated[bool, typer.Option("--wav", help="With --stream, put a WAV header before the samples.")] = False,
    json: JsonOption = False,
) -> None:
    """Turn mels or recordings into speech.

    Example: `waveflow vocode speech.wav mels/ -o out/ --project 1`, or
    `acoustic-model | waveflow vocode --stream | aplay -f S16_LE -r 22050`
    """
    if stream:
        if len(inputs or []) > 1 or denoise or project:
            raise ValueError("--stream takes one input, and neither --denoise nor --project: both see whole utterances")
        if subtype != "PCM_16":
            raise ValueError(f"--subtype is {subtype}, but a stream is 16-bit PCM; leave it out")
        from waveflow.cli.vocode_stream import vocode_stream

        given = inputs[0] if inputs else STDIN
        if given != STDIN and not Path(given).exists():
            raise ValueError(f"nothing to read at {given}: no such file")
        vocode_stream(
            load_vocoder(model, device, dtype, backend),
            given,
            output,
            sigma=sigma,
            seed=seed,
            look_ahead=look_ahead,
            header=wav,
            overwrite=overwrite,
            json=json,
        )
        return
    if look_ahead is not None or wav:
        raise ValueError("--look-ahead and --wav belong to --stream; add it or leave them out")
    if not inputs:
        raise ValueError("no input was given; name recordings, mels or folders, or - for a recording on stdin")
    jobs = _plan(inputs, output)
    from waveflow.audio.writing import check_format

    # All in a folder are of one kind.
    check_format(jobs[0][1], subtype, "WAV" if str(jobs[0][1]) == STDIN else None)
    vocoder = load_vocoder(model, device, dtype, backend)
    rows, n_failed = [], 0
    for source, target in tracked(jobs, "vocoding"):
        row: dict[str, object] = {"input": str(source.path), "output": str(target)}
        try:
            if str(target) != STDIN and target.exists() and not overwrite:
                row["skipped"] = "exists"
                complain(f"{target} exists and is kept; --overwrite replaces it")
            else:
                settings = {"sigma": sigma, "seed": seed, "denoise": denoise, "project": project}
                row |= _vocode_one(vocoder, source.path, target, subtype, settings)
                if not json:
                    print(
                        f"{target}: {row['seconds']:.2f} s of audio, {row['x_real_time']:.1f} x real time",
                        file=sys.stderr,
                    )
        except (ValueError, OSError) as error:
            n_failed += 1
            row["error"] = reason = reason_of(error)
            complain(reason, source.path)
        rows.append(row)
    if json:
        print(json_format.dumps(rows, indent=2))
    if n_failed:
        raise typer.Exit(1)


def _plan(names: list[str], output: Path | None) -> list[tuple[Input, Path]]:
    """Each input with the path of its output."""
    if output is not None:
        check_output(output, folder=names != [STDIN])
    if names == [STDIN]:
        return [(Input(Path(STDIN), Path("stdin")), output or Path(STDIN))]
    if STDIN in names:
        raise ValueError("- (stdin) was given with other inputs; give it alone")
    found = find_inputs(names, AUDIO_SUFFIXES + MEL_SUFFIXES)
    if output is not None and (output.suffix.lower() in SOUND_FILES or str(output) == STDIN):
        if len(found) > 1:
            raise ValueError(f"--output {output} is one file, but there are {len(found)} inputs; name a folder")
        return [(found[0], output)]
    folder = Path() if output is None else output
    targets = [folder / item.relative.with_name(f"{item.relative.stem}{VOCODED}.wav") for item in found]
    doubled = {target for target in targets if targets.count(target) > 1}
    if doubled:
        raise ValueError(f"several inputs would become {min(doubled)}; vocode their folders one at a time")
    return list(zip(found, targets))


def _vocode_one(
    vocoder: Vocoder, source: Path, target: Path, subtype: str, settings: dict[str, Any]
) -> dict[str, object]:
    from waveflow.audio import io
    from waveflow.audio.mel_doctor import check_and_diagnose
    from waveflow.audio.mel_files import read_mel

    n_samples = None
    if source.suffix.lower() in MEL_SUFFIXES:
        mel = read_mel(source)
        check_and_diagnose(mel, vocoder.config.mel)
    else:
        file = sys.stdin.buffer if str(source) == STDIN else source
        recording, _ = io.read(file, sample_rate=vocoder.sample_rate)
        n_samples = recording.shape[-1]
        mel = vocoder.mel(recording)
    start = time.perf_counter()
    audio = vocoder(mel, **settings)[..., :n_samples].cpu()
    taken = time.perf_counter() - start
    if audio.dim() != 1:
        raise ValueError(f"mel has shape {tuple(mel.shape)}, expected one item; split the batch into files")
    if str(target) == STDIN:
        io.write(sys.stdout.buffer, audio, vocoder.sample_rate, subtype)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        io.write(target, audio, vocoder.sample_rate, subtype)
    seconds = audio.shape[-1] / vocoder.sample_rate
    return {"seconds": seconds, "x_real_time": seconds / taken}
