"""`waveflow vocode --stream`."""

from __future__ import annotations

import json as json_format
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING

from waveflow.cli.inputs import STDIN

if TYPE_CHECKING:
    from torch import Tensor

    from waveflow.inference import Vocoder

# The error of a short look-ahead is measured over so much of the beginning.
MEASURED_SECONDS = 30


def vocode_stream(
    vocoder: Vocoder,
    source: str,
    target: Path | None,
    *,
    sigma: float | None,
    seed: int,
    look_ahead: int | None,
    header: bool,
    json: bool,
) -> None:
    """Read a mel or a recording as it comes, and write audio as soon as it is certain.

    Raises:
        ValueError: What comes in is no mel frames, NumPy file or WAV, or has no frames.
    """
    import torch

    from waveflow.audio.mel import MelSpectrogram
    from waveflow.inference.streaming import Stream, look_ahead_error
    from waveflow.inference.streaming_input import MelInput, pcm, wav_header

    to_stdout = target is None or str(target) == STDIN
    header = header or (not to_stdout and target.suffix.lower() == ".wav")
    stream = Stream(vocoder, sigma=sigma, seed=seed, look_ahead=look_ahead)
    whole = Stream(vocoder).look_ahead
    hop, rate = vocoder.config.mel.hop_length, vocoder.sample_rate
    kept: list[Tensor] = []
    margins: list[float] = []
    first_audio, n_frames, n_written = None, 0, 0

    def write(sink: IO[bytes], audio: Tensor) -> None:
        nonlocal n_written
        sink.write(pcm(audio))
        sink.flush()
        n_written += len(audio)

    with (
        nullcontext(sys.stdin.buffer) if source == STDIN else open(source, "rb") as file,
        nullcontext(sys.stdout.buffer) if to_stdout else open(target, "wb") as sink,
    ):
        given = MelInput(file, MelSpectrogram(vocoder.config.mel))
        if header:
            sink.write(wav_header(rate))
        try:
            for mel in given:
                n_frames += mel.shape[1]
                if stream.look_ahead < whole and n_frames * hop < MEASURED_SECONDS * rate:
                    kept.append(mel)
                start = time.perf_counter()
                for audio in stream.pieces(mel):
                    if len(audio):
                        now = time.perf_counter()
                        first_audio = now - start if first_audio is None else first_audio
                        margins.append(len(audio) / rate / (now - start))
                        write(sink, audio)
                    start = time.perf_counter()
            audio = stream.finish()
            wanted = len(audio) if given.n_samples is None else given.n_samples - n_written
            write(sink, audio[: max(0, wanted)])
        except BrokenPipeError:
            # Whoever listened has gone; what Python would still flush at its end must not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if header and not to_stdout:
            sink.seek(0)
            sink.write(_sized(wav_header(rate), 2 * n_written))
    if not n_frames:
        raise ValueError(f"{'stdin' if source == STDIN else source} is empty, expected mel frames or a WAV recording")
    facts = {
        "seconds": n_written / rate,
        "look_ahead_frames": stream.look_ahead,
        "look_ahead_ms": 1000 * stream.look_ahead * hop / rate,
        "first_audio_ms": None if first_audio is None else 1000 * first_audio,
        "x_real_time": _percentiles(margins),
    }
    if kept:
        facts["snr_db"] = look_ahead_error(vocoder, torch.cat(kept, dim=1), stream.look_ahead, seed=seed)
    if json:
        print(json_format.dumps(facts, indent=2), file=sys.stderr if to_stdout else sys.stdout)
        return
    told = f"{facts['seconds']:.2f} s of audio, look-ahead {stream.look_ahead} frames ({facts['look_ahead_ms']:.0f} ms)"
    if first_audio is not None:
        told += f", first audio {facts['first_audio_ms']:.1f} ms after its last frame"
    if kept:
        told += f", {facts['snr_db']:.1f} dB like the audio with the whole look-ahead of {whole}"
    print(f"waveflow: {told}", file=sys.stderr)


def _sized(header: bytes, n_bytes: int) -> bytes:
    return header[:4] + (36 + n_bytes).to_bytes(4, "little") + header[8:40] + n_bytes.to_bytes(4, "little")


def _percentiles(values: list[float]) -> dict[str, float]:
    """What half, 90 % and 99 % of the values reach at least."""
    ordered = sorted(values, reverse=True)
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 90, 99) if ordered}
