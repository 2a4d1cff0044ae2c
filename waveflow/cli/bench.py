"""`waveflow bench`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import BACKENDS, DeviceOption, JsonOption, complain


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundled models, checkpoint directories, training runs, or names of the registry; the bundled LapGlow."
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(BACKENDS)}; may be repeated. The reference and the device's fastest unless given."
        ),
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32, bfloat16 or float16; may be repeated.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Utterances at a time; may be repeated.")] = None,
    seconds: Annotated[list[float] | None, typer.Option(help="Of audio each; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each candidate.")] = 5,
    peers: Annotated[bool, typer.Option(help="Also the vocoders of other packages that are installed.")] = False,
    recording: Annotated[Path | None, typer.Option(help="Speech whose mel is vocoded; else made-up vowels.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of the CPU; PyTorch's own choice.")] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure speed on this machine: parity with float64 first, then candidates in turns, beside the machine's own
    matrix product.

    Example: `waveflow bench lapglow squeezewave-128l --seconds 1 --seconds 10 --peers`
    """
    import torch
    from rich.console import Console

    from waveflow.audio import io
    from waveflow.devices import device_of
    from waveflow.inference.backends import FASTEST
    from waveflow.inference.benchmark import PEERS, Candidate, Plan, made_up_vowels, rich_table, run

    for name, values, known in (
        ("backend", backend, BACKENDS),
        ("dtype", dtype, ("float32", "bfloat16", "float16", "float64")),
    ):
        unknown = [value for value in values or () if value not in known]
        if unknown:
            raise ValueError(f"{name} is {unknown[0]!r}, expected one of {known}")
    if min(rounds, threads or 1, *(batch or [1]), *(seconds or [1])) <= 0:
        raise ValueError("rounds, threads, batch and seconds must be above 0")
    if threads:
        torch.set_num_threads(threads)
    place = device_of(device)
    backends = backend or ["reference", *FASTEST.get(place.type, ())[:1]]
    ways = [(b, d) for b in backends for d in dtype or ["float32", "bfloat16"]]
    candidates = [Candidate(name, ways) for name in models or ["lapglow"]]
    if peers:
        candidates += [Candidate(name, [("pytorch", d) for d in dtype or ["float32", "bfloat16"]]) for name in PEERS]
    sizes = [(b, s) for b in batch or [1] for s in seconds or [5.0]]
    audio, rate = made_up_vowels() if recording is None else io.read(recording)
    with Console(stderr=True).status("starting") as status:
        plan = Plan(candidates, sizes, rounds)
        results = run(plan, audio, rate, place, report=lambda doing: status.update(doing))
    for name, reason in results["left_out"].items():
        complain(f"{name} left out: {reason}")
    if json:
        print(json_format.dumps(results, indent=2))
    else:
        Console().print(rich_table(results))
