"""`waveflow vocode --stream`; imported when it is called for, so torch may be here."""

from __future__ import annotations

import json as json_format
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.audio.quantizing import pcm
from waveflow.cli.inputs import STDIN
from waveflow.inference.streaming import Stream, look_ahead_error
from waveflow.inference.streaming.input import MelInput, wav_header

if TYPE_CHECKING:
    from waveflow.inference import Vocoder

# The error of a short look-ahead is measured over so much of the beginning.
MEASURED_SECONDS = 30


class _Sink:
    """Where the samples go: stdout, or a file, which is opened when the first of them are there.

    A file grows as the audio comes, so that what there is of it is kept whatever ends the stream.

    Args:
        target: The file; None or `-` for stdout.
        sample_rate: Hz.
        header: Begin with a WAV header; a file has one anyway where its name says so.
        overwrite: Replace a file that exists.

    Attributes:
        is_stdout: Whether the samples go to stdout.
        n_samples: Written so far.

    Raises:
        ValueError: The file exists and may not be replaced, cannot be a file, or wants to be of another format.
    """

    def __init__(self, target: Path | None, sample_rate: int, *, header: bool, overwrite: bool) -> None:
        target = None if str(target) == STDIN else target
        self.is_stdout = target is None
        self.n_samples = 0
        self._target, self._rate = target, sample_rate
        self._file: IO[bytes] | None = None
        if target is None:
            self._header = header
            return
        suffix = target.suffix.lower()
        self._header = header or suffix == ".wav"
        if suffix == ".flac":
            raise ValueError(f"--output {target} is FLAC, but a stream is WAV or raw PCM; name a .wav or a .pcm")
        if target.is_dir():
            raise ValueError(f"--output {target} is a folder, but a stream is one file; name a .wav or a .pcm")
        if not target.parent.is_dir():
            raise ValueError(f"--output {target} is in a folder that does not exist; create it first")
        if target.is_file() and not overwrite:
            raise ValueError(f"{target} exists and is kept; --overwrite replaces it")

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None or self.is_stdout:
            return
        with self._file as file:
            if self._header and file.seekable():
                file.seek(0)
                file.write(wav_header(self._rate, self.n_samples))

    def write(self, audio: Tensor) -> None:
        """Write samples, `(T,)`, and let whoever reads have them at once."""
        if self._file is None:
            self._file = sys.stdout.buffer if self._target is None else self._target.open("wb")
            if self._header:
                self._file.write(wav_header(self._rate))
        self._file.write(pcm(audio))
        self._file.flush()
        self.n_samples += len(audio)


def vocode_stream(
    vocoder: Vocoder,
    source: str,
    target: Path | None,
    *,
    sigma: float | None,
    seed: int,
    look_ahead: int | None,
    header: bool,
    overwrite: bool,
    json: bool,
) -> None:
    """Read a mel or a recording as it comes, and write audio as soon as it is certain.

    Raises:
        ValueError: What comes in is no mel frames, NumPy file or WAV, or has no frames; or the target is refused.
    """
    stream = Stream(vocoder, sigma=sigma, seed=seed, look_ahead=look_ahead)
    whole = stream.look_ahead if look_ahead is None else Stream(vocoder).look_ahead
    mel_config, rate = vocoder.config.mel, vocoder.sample_rate
    kept: list[Tensor] = []
    clock = _Clock(rate)
    n_frames = 0
    with (
        _Sink(target, rate, header=header, overwrite=overwrite) as sink,
        nullcontext(sys.stdin.buffer) if source == STDIN else open(source, "rb") as file,
    ):
        given = MelInput(file, MelSpectrogram(mel_config))
        try:
            for mel in given:
                n_frames += mel.shape[1]
                if stream.look_ahead < whole and n_frames * mel_config.hop_length < MEASURED_SECONDS * rate:
                    kept.append(mel)
                for audio in clock.timed(stream.pieces(mel)):
                    sink.write(audio)
            if not n_frames:
                named = "stdin" if source == STDIN else source
                raise ValueError(f"{named} is empty, expected mel frames or a WAV recording")
            audio = stream.finish()
            sink.write(audio if given.n_samples is None else audio[: max(0, given.n_samples - sink.n_samples)])
        except BrokenPipeError:
            # Whoever listened has gone; what Python would still flush at its end must not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
    facts = {
        "seconds": sink.n_samples / rate,
        "look_ahead_frames": stream.look_ahead,
        "look_ahead_ms": 1000 * stream.look_ahead * mel_config.hop_length / rate,
        "first_audio_ms": None if clock.first is None else 1000 * clock.first,
        "x_real_time": _percentiles(clock.x_real_time),
    }
    if kept:
        facts["snr_db"] = look_ahead_error(vocoder, torch.cat(kept, dim=1), stream.look_ahead, seed=seed)
    if json:
        print(json_format.dumps(facts, indent=2), file=sys.stderr if sink.is_stdout else sys.stdout)
    else:
        print(f"waveflow: {_told(facts, whole)}", file=sys.stderr)


class _Clock:
    """How long pieces of audio take to be made.

    Attributes:
        first: Seconds until the first audio, since its last frame was there; None before it.
        x_real_time: Seconds of audio a second, for each piece.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self.first: float | None = None
        self.x_real_time: list[float] = []

    def timed(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Hand on the pieces that are not empty."""
        start = time.perf_counter()
        for audio in pieces:
            if len(audio):
                taken = time.perf_counter() - start
                self.first = taken if self.first is None else self.first
                self.x_real_time.append(len(audio) / self._rate / taken)
                yield audio
            start = time.perf_counter()


def _told(facts: dict[str, Any], whole: int) -> str:
    words = [
        f"{facts['seconds']:.2f} s of audio",
        f"look-ahead {facts['look_ahead_frames']} frames ({facts['look_ahead_ms']:.0f} ms)",
    ]
    if facts["first_audio_ms"] is not None:
        words.append(f"first audio {facts['first_audio_ms']:.1f} ms after its last frame")
    if "snr_db" in facts:
        words.append(f"{facts['snr_db']:.1f} dB like the audio with the whole look-ahead of {whole}")
    return ", ".join(words)


def _percentiles(values: list[float]) -> dict[str, float]:
    """What half, 90 % and 99 % of the values reach at least."""
    ordered = sorted(values, reverse=True)
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 90, 99) if ordered}
