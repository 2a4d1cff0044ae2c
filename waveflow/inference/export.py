"""Models for other runtimes: ONNX, torch.export programs, AOTInductor packages, each proved before it is kept."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveflow._version import __version__
from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints.atomic import atomic_directory
from waveflow.decibels import signal_to_error
from waveflow.extras import require
from waveflow.inference.exported import Graph, context_frames
from waveflow.inference.noise import batch_normal
from waveflow.models import MelFlow, config_to_dict, model_name

FORMATS = {"onnx": "model.onnx", "torch": "model.pt2", "aoti": "model.aoti.pt2"}
FACTS = "export.json"
MIN_SNR = 60.0
OPSET = 20
MAX_BATCH, MAX_FRAMES = 1024, 1 << 20
# Lengths of the proof, frames for each batch: short, odd, and longer than the receptive field of most.
PROOF_SHAPES = ((1, 0), (3, 17), (1, 301))
TIMED_SECONDS = 3.0

Run = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """One format of an exported model.

    Attributes:
        format: `onnx`, `torch` or `aoti`.
        file: Its name in the directory.
        size: Bytes.
        snr: Of its audio to the model's, dB, the worst of several batches and lengths.
        x_real_time: Seconds of audio a second, on this machine's CPU with as many threads as torch uses.
        min_frames: Fewest mel frames, or hops of a recording, that it takes.
    """

    format: str
    file: str
    size: int
    snr: float
    x_real_time: float
    min_frames: int


@torch.no_grad()
def export(
    model: MelFlow,
    directory: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("onnx",),
    from_audio: bool = False,
    draw_noise: bool = False,
    metadata: dict[str, Any] | None = None,
) -> list[Exported]:
    """Write a model for other runtimes, with dynamic batch and length, and prove each file against the model.

    The files take `mel` (or `recording`), `noise` (or `seed`) and `sigma`, as `Graph` says, and give `audio`. Beside
    them lies `export.json`: the model, its mel contract, inputs, the fewest frames, how far a stretch is reached by its
    neighbours, and the proof. Each file carries the same but for the proof: ONNX and AOTInductor as metadata
    `waveflow`, torch.export as the extra file `export.json`.

    Args:
        model: The model, of any precision and on any device, where it stays; what is written is of float32.
        directory: Created, or replaced where it is such an export already.
        formats: Of `onnx` (opset 20), `torch` (a `torch.export` program) and `aoti` (an AOTInductor package for this
            machine's CPU, which needs a C++ compiler and takes contiguous inputs).
        from_audio: The files compute the mel of recordings themselves.
        draw_noise: The files draw the keyed noise of a seed themselves.
        metadata: Facts to keep with the files (training, source, licence), plain JSON values.

    Returns:
        One entry a format.

    Raises:
        ValueError: An unknown format or none, a directory of other things, a model that cannot be exported, or audio
            less than 60 dB like the model's. Nothing is then written.
        MissingExtra: ONNX's packages are not installed.
    """
    if not formats:
        raise ValueError(f"no format was given, expected some of {', '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"no format is called {name!r}, expected some of {', '.join(FORMATS)}")
    if "onnx" in formats:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "export")
    if "aoti" in formats and not (shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")):
        raise ValueError("format 'aoti' needs a C++ compiler, and there is none; install g++ or leave the format out")
    directory = Path(directory)
    if directory.is_dir() and (others := sorted({*os.listdir(directory)} - {FACTS, *FORMATS.values()})):
        raise ValueError(f"{directory} holds {', '.join(others[:3])}, which an export would delete; choose another")
    model = copy.deepcopy(model).cpu().float().eval()
    graph = Graph(model, from_audio=from_audio, draw_noise=draw_noise).eval()
    program = _program(graph)
    facts = _facts(graph, model, metadata)
    writers = {"onnx": _write_onnx, "torch": _write_torch, "aoti": _write_aoti}
    exported = []
    with atomic_directory(directory) as staging:
        for name in dict.fromkeys(formats):
            path = staging / FORMATS[name]
            with _quiet():
                run = writers[name](program, path, facts)
            snr, speed = _proven(name, run, graph, model), _speed(run, graph)
            exported.append(Exported(name, path.name, path.stat().st_size, snr, speed, min_frames(graph)))
        proof = [asdict(entry) for entry in exported]
        (staging / FACTS).write_text(json.dumps({**facts, "files": proof}, indent=2) + "\n", encoding="utf-8")
    return exported


def example(graph: Graph, batch: int, n_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs for a graph: noise that swells and fades like syllables, or its mel; noise or seeds; a sigma."""
    mel_config = graph.model.mel_config
    n_samples = mel_config.samples(n_frames)
    generator = torch.Generator().manual_seed(n_frames)
    swell = torch.sin(torch.arange(n_samples) * (4 * torch.pi / mel_config.sample_rate)).square()
    audio = 0.2 * swell * torch.randn(batch, n_samples, generator=generator)
    # A compiled package takes the layout of the example for granted: a slice would make it wrong for all else.
    told = audio if graph.mel is not None else MelSpectrogram(mel_config)(audio)[..., :n_frames].contiguous()
    seeds = torch.arange(batch) + (1 << 40) - 7
    noise = seeds if graph.draw_noise else batch_normal(seeds.tolist(), 0, n_samples)
    return told, noise, torch.tensor(graph.model.config.sigma)


def min_frames(graph: Graph) -> int:
    """The shortest input that a graph is traced for: reflection at the ends needs more audio than it reflects."""
    config = graph.model.mel_config
    return max(3, config.margins[1] // config.hop_length + 1 if graph.mel is not None else 0)


def _program(graph: Graph) -> torch.export.ExportedProgram:
    hop, batch = graph.model.mel_config.hop_length, torch.export.Dim("batch", min=1, max=MAX_BATCH)
    frames = torch.export.Dim("frames", min=min_frames(graph), max=MAX_FRAMES)
    told = {0: batch, 2: frames} if graph.mel is None else {0: batch, 1: hop * frames}
    noise = {0: batch} if graph.draw_noise else {0: batch, 1: hop * frames}
    try:
        with _quiet():
            program = torch.export.export(
                graph,
                example(graph, 2, 20),
                dynamic_shapes=(told, noise, None),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except (RuntimeError, TypeError, ValueError) as error:
        name, reason = type(graph.model).__name__, str(error).strip().splitlines()[0]
        raise ValueError(f"{name} cannot be exported with a dynamic length: {reason}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def _facts(graph: Graph, model: MelFlow, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    mel = model.mel_config
    told = {"recording": ["batch", "samples"]} if graph.mel is not None else {"mel": ["batch", mel.n_mels, "frames"]}
    noise = {"seed": ["batch"]} if graph.draw_noise else {"noise": ["batch", "samples"]}
    return {
        "waveflow_version": __version__,
        "model": model_name(model),
        "config": config_to_dict(model.config),
        "inputs": {**told, **noise, "sigma": []},
        "output": {"audio": ["batch", "samples"]},
        "samples_per_frame": mel.hop_length,
        "min_frames": min_frames(graph),
        "context_frames": context_frames(graph),
        "metadata": metadata or {},
    }


def _write_torch(program: torch.export.ExportedProgram, path: Path, facts: dict[str, Any]) -> Run:
    torch.export.save(program, path, extra_files={FACTS: json.dumps(facts)})
    return torch.export.load(path).module()


def _write_aoti(program: torch.export.ExportedProgram, path: Path, facts: dict[str, Any]) -> Run:
    told = {"aot_inductor.metadata": {"waveflow": json.dumps(facts)}}
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=told)
    return torch._inductor.aoti_load_package(str(path))


def _write_onnx(program: torch.export.ExportedProgram, path: Path, facts: dict[str, Any]) -> Run:
    import onnx
    import onnxruntime

    names = list(facts["inputs"])
    written = torch.onnx.export(
        program, dynamo=True, input_names=names, output_names=["audio"], opset_version=OPSET, verbose=False
    )
    assert written is not None
    model = written.model_proto
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    for value, shape in zip(
        [*model.graph.input, *model.graph.output], [*facts["inputs"].values(), ["batch", "samples"]]
    ):
        for dim, size in zip(value.type.tensor_type.shape.dim, shape):
            if isinstance(size, str):
                dim.dim_param = size
    _store_in_half(model.graph)
    onnx.helper.set_model_props(model, {"waveflow": json.dumps(facts)})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Tensor:
        given = {name: value.numpy() for name, value in zip(names, inputs)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def _store_in_half(graph: Any) -> None:
    """Store weights that half precision holds exactly, as those of half-precision checkpoints, in half the bytes."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < 1024:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if (half == values).all():
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _proven(name: str, run: Run, graph: Graph, model: MelFlow) -> float:
    """The worst SNR of a format to the model, dB."""
    worst = float("inf")
    for batch, n_frames in PROOF_SHAPES:
        told, noise, sigma = example(graph, batch, max(n_frames, min_frames(graph)))
        mel = told if graph.mel is None else MelSpectrogram(model.mel_config)(told)
        n_samples = model.mel_config.samples(told.shape[-1]) if graph.mel is None else told.shape[-1]
        latent = sigma * (batch_normal(noise.tolist(), 0, n_samples) if graph.draw_noise else noise)
        expected, found = model.inverse(latent, mel), run(told, noise, sigma)
        if found.shape != expected.shape:
            raise ValueError(
                f"{name} gives audio of shape {tuple(found.shape)}, the model {tuple(expected.shape)}; "
                "nothing was written"
            )
        snr = signal_to_error(found, expected).item()
        if not snr >= MIN_SNR:
            raise ValueError(
                f"{name} gives audio {snr:.1f} dB like the model's, expected at least {MIN_SNR:g} dB; "
                "nothing was written"
            )
        worst = min(worst, snr)
    return round(worst, 1)


def _speed(run: Run, graph: Graph) -> float:
    config = graph.model.mel_config
    inputs = example(graph, 1, round(TIMED_SECONDS * config.sample_rate / config.hop_length))
    times: list[float] = []
    while len(times) < 5 and sum(times) < 10:
        start = time.perf_counter()
        run(*inputs)
        times.append(time.perf_counter() - start)
    return round(TIMED_SECONDS / statistics.median(times), 2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own chatter, a whole graph where one fails; what goes wrong is raised."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
