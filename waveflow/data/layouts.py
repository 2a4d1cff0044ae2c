"""The layouts of published corpora: who speaks, and what, told from where the files lie."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Found(NamedTuple):
    """A recording of a known corpus; `path` may name a file that is not there."""

    id: str
    path: Path
    speaker: str
    text: str


def read_layout(folder: Path) -> list[Found]:
    """The recordings of a folder that is laid out as VCTK, LibriTTS or Hi-Fi TTS; none where it is not.

    Raises:
        ValueError: A list that the layout brings cannot be read.
    """
    return next(filter(None, (list(reader(folder)) for reader in _READERS)), [])


def _vctk(folder: Path) -> Iterator[Found]:
    """VCTK (doi:10.7488/ds/2645): `wav48_silence_trimmed/p225/p225_001_mic1.flac`, or `wav48/p225/p225_001.wav`.

    Of the two microphones of version 0.92 the first is taken, as its authors' baselines do.
    """
    for place, pattern in (("wav48_silence_trimmed", "*/*_mic1.flac"), ("wav48", "*/*.wav")):
        for path in sorted((folder / place).glob(pattern)):
            speaker, clip = path.parent.name, path.stem.removesuffix("_mic1")
            yield Found(f"{speaker}/{clip}", path, speaker, _text(folder / "txt" / speaker / f"{clip}.txt"))


_SUBSET = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")


def _libritts(folder: Path) -> Iterator[Found]:
    """LibriTTS (arXiv:1904.02882): `train-clean-100/<speaker>/<chapter>/<clip>.wav`, texts beside; or one subset."""
    subsets = (
        [folder] if _SUBSET.fullmatch(folder.resolve().name) else sorted(folder.iterdir()) if folder.is_dir() else []
    )
    for subset in subsets:
        if not _SUBSET.fullmatch(subset.resolve().name):
            continue
        for path in sorted(p for suffix in (".wav", ".flac") for p in subset.glob(f"*/*/*{suffix}")):
            speaker, chapter = path.parent.parent.name, path.parent.name
            if not path.name.startswith("."):
                text = _text(path.with_suffix(".normalized.txt"))
                yield Found(f"{speaker}/{chapter}/{path.stem}", path, speaker, text)


def _hifi_tts(folder: Path) -> Iterator[Found]:
    """Hi-Fi TTS (arXiv:2104.01497): `<speaker>_manifest_<quality>_<split>.json` beside `audio/`, JSON lines."""
    for listing in sorted(folder.glob("*_manifest_*_*.json")):
        speaker = listing.name.partition("_")[0]
        for number, line in enumerate(listing.read_bytes().splitlines(), 1):
            try:
                facts = json.loads(line)
                inner = PurePosixPath(facts["audio_filepath"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{listing}, line {number} is no entry of Hi-Fi TTS: {error!r}; get it again"
                ) from error
            if inner.is_absolute() or ".." in inner.parts:
                raise ValueError(f"{listing}, line {number} names {inner}, expected a path below {folder}")
            parts = [part for part in inner.with_suffix("").parts if part != "audio"]
            text = facts.get("text_normalized") or facts.get("text") or ""
            yield Found("/".join([speaker, *parts[1:]]), folder / inner, speaker, text)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


_READERS = (_vctk, _libritts, _hifi_tts)
