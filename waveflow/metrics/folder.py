"""Recordings to compare with their syntheses: files matched by stem, or what a vocoder makes of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from waveflow.audio import io
from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.audio.suffixes import AUDIO_SUFFIXES, VOCODED
from waveflow.metrics.evaluate import Clip, evaluation_mel

# What vocoders put behind the name of a recording: ours, HiFi-GAN and BigVGAN, Parallel WaveGAN, WaveGlow.
ENDINGS = (VOCODED, "_generated", "_generated_e2e", "_gen", "_synthesis")


def find_recordings(path: str | Path, *, by_path: bool | None = None) -> dict[str, Path]:
    """Sound files by stem: the one file given, or those of a folder and its subfolders, in order of their names.

    Args:
        path: The file or folder.
        by_path: Call files by their path within the folder, less its suffix; None does so where subfolders repeat a
            stem, as those of speakers do.

    Raises:
        ValueError: Nothing there, no sound file in the folder, or two files of one stem, or path.
    """
    path = Path(path)
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; give a sound file or a folder of them")
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()]
    if not files:
        raise ValueError(f"{path} holds no sound files; expected some of {', '.join(AUDIO_SUFFIXES)}")
    stems = [file.stem for file in files]
    if by_path or (by_path is None and len({*stems}) < len(files)):
        stems = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    found: dict[str, Path] = {}
    for stem, file in zip(stems, files):
        if stem in found:
            raise ValueError(f"{found[stem]} and {file} share the stem by which files are matched; rename one")
        found[stem] = file
    return found


def match_recordings(
    reference: str | Path, synthesis: str | Path, *, sample_rate: int | None = None
) -> tuple[dict[str, Callable[[], Clip]], dict[str, str]]:
    """Pair recordings with their syntheses, by stem; two files given as such are a pair whatever their names.

    `X_waveflow`, as `waveflow vocode` calls it, or X with another vocoder's ending, of `ENDINGS`, is the synthesis of
    X where there is none of X's own stem.

    Args:
        reference: A sound file or a folder of them.
        synthesis: Likewise.
        sample_rate: Compare at this rate, Hz; None is the files' own, which must agree.

    Returns:
        What reads each pair, by stem, as `evaluate_clips` takes it; and what has no counterpart, with the
        reason.

    Raises:
        ValueError: Nothing to read on one side, one stem twice, or no stem in common.
    """
    references = find_recordings(reference)
    syntheses = find_recordings(synthesis, by_path=any("/" in stem for stem in references))
    if Path(reference).is_file() and Path(synthesis).is_file():
        syntheses = dict(zip(references, syntheses.values()))
    common = {stem: stem for stem in references if stem in syntheses}
    for ending in ENDINGS:
        vocoded = {stem: stem + ending for stem in references if stem not in common}
        common |= {stem: name for stem, name in vocoded.items() if name in syntheses and name not in common}
    if not common:
        raise ValueError(
            f"no file of {reference} has the stem of one of {synthesis}, with or without one of "
            f"{', '.join(ENDINGS)}; name them alike"
        )
    alone = {stem: f"{file} has no counterpart in {synthesis}" for stem, file in references.items()}
    alone |= {stem: f"{file} has no counterpart in {reference}" for stem, file in syntheses.items()}
    pairs: dict[str, Callable[[], Clip]] = {
        stem: partial(_read, file, syntheses[common[stem]], sample_rate)
        for stem, file in references.items()
        if stem in common
    }
    paired = {*common, *common.values()}
    return pairs, {stem: reason for stem, reason in alone.items() if stem not in paired}


def vocode_recordings(
    recordings: Mapping[str, Path],
    vocode: Callable[[Tensor, MelConfig], Tensor],
    mel: MelConfig | None = None,
    *,
    sample_rate: int | None = None,
    bits_per_sample: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Callable[[], Clip]]:
    """Pair recordings with what a vocoder makes of their mels.

    Args:
        recordings: By stem, as of `find_recordings`.
        vocode: From a mel `(n_mels, F)` and its convention to audio `(T,)`; it is timed.
        mel: The convention; None is `evaluation_mel` of each file's rate.
        sample_rate: To resample to where no mel is given, Hz; None is the files' own.
        bits_per_sample: Of a recording `(T,)`, where the vocoder knows it.

    Returns:
        What makes each pair, by stem, as `evaluate_clips` takes it, with `x_real_time`, and `bits_per_sample` where
        it is known.
    """
    rate = sample_rate if mel is None else mel.sample_rate
    return {stem: partial(_vocoded, path, vocode, mel, rate, bits_per_sample) for stem, path in recordings.items()}


def _vocoded(
    path: Path,
    vocode: Callable[[Tensor, MelConfig], Tensor],
    mel: MelConfig | None,
    sample_rate: int | None,
    bits_per_sample: Callable[[Tensor], Tensor] | None,
) -> Clip:
    audio, recorded = io.read(path)
    rate = recorded if sample_rate is None else sample_rate
    audio = io.resample(audio, recorded, rate)
    config = mel or evaluation_mel(rate)
    target = MelSpectrogram(config)(audio)
    start = time.perf_counter()
    synthesis = vocode(target, config).cpu()
    elapsed = time.perf_counter() - start
    figures = {} if bits_per_sample is None else {"bits_per_sample": float(bits_per_sample(audio))}
    figures["x_real_time"] = len(audio) / rate / elapsed
    return Clip(audio, synthesis, rate, figures, _missing_band(recorded, rate))


def _read(reference: Path, synthesis: Path, sample_rate: int | None) -> Clip:
    (x, rate), (y, other) = (io.read(path) for path in (reference, synthesis))
    if sample_rate is None and rate != other:
        raise ValueError(
            f"{reference} is at {rate} Hz and {synthesis} at {other} Hz; name the rate to compare them at "
            f"(--sample-rate {min(rate, other)})"
        )
    at = rate if sample_rate is None else sample_rate
    return Clip(io.resample(x, rate, at), io.resample(y, other, at), at, notes=_missing_band(min(rate, other), at))


def _missing_band(recorded: int, rate: int) -> dict[str, str]:
    """A note where audio is compared above the rate of its file."""
    if recorded >= rate:
        return {}
    return {
        "sample_rate": f"a file at {recorded} Hz is compared at {rate} Hz, though it holds nothing above "
        f"{recorded // 2} Hz: what a vocoder makes there counts as error"
    }
