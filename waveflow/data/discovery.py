"""Finding the recordings of a corpus: in a folder, or by a metadata.csv as LJSpeech has it."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from waveflow.audio.suffixes import AUDIO_SUFFIXES
from waveflow.data.layouts import read_layout

# Folders that say what is in them, not who speaks.
_CONTAINERS = {"wav", "wavs", "audio", "flac", "clips"}


@dataclass(frozen=True)
class Recording:
    """A recording before preprocessing.

    Attributes:
        id: `speaker/clip`, unique in the corpus.
        path: Its sound file; None where a list names one that is not there.
        speaker: Who speaks.
        text: What is said, if known.
    """

    id: str
    path: Path | None
    speaker: str
    text: str = ""


def find_recordings(source: Path, speaker: str | None = None, skip: Path | None = None) -> list[Recording]:
    """All recordings of one source, sorted by id.

    A folder with a `metadata.csv` (or such a file itself; `id|text` or `id|text|normalized text`, in UTF-8, no quotes)
    gives those listed in it, from beside it or from its `wavs`. Folders laid out as VCTK, LibriTTS or Hi-Fi TTS bring
    their speakers and texts. Any other folder is searched through, hidden files aside. The speaker is the name of the
    folder, or of the first folder inside it that is not called `wavs` or the like.

    Args:
        source: Folder, or metadata file.
        speaker: Of all of them, instead of the name of the folder.
        skip: Folder that is not searched: where the corpus goes.

    Raises:
        ValueError: No such folder, nothing in it, or a list that cannot be read.
    """
    if not source.exists():
        raise ValueError(f"{source} does not exist; name a folder of recordings or a metadata.csv")
    if speaker is not None and (not speaker or PurePosixPath(speaker).parts != (speaker,) or speaker == ".."):
        raise ValueError(f"speaker is {speaker!r}, expected a name that can be a folder's")
    listing = source if source.is_file() else source / "metadata.csv"
    if source.is_file() and source.suffix.lower() not in (".csv", ".txt"):
        raise ValueError(f"{source} is a file, expected a folder of recordings or a metadata.csv")
    found = (
        _listed(listing, speaker)
        if listing.is_file()
        else _laid_out(source, speaker) or _searched(source, speaker, skip)
    )
    if not found:
        raise ValueError(f"{source} holds no recordings ({', '.join(AUDIO_SUFFIXES)})")
    return sorted(found, key=lambda recording: (recording.id, str(recording.path)))


def _laid_out(folder: Path, speaker: str | None) -> list[Recording]:
    return [
        Recording(id if speaker is None else f"{speaker}/{id}", path if path.is_file() else None, speaker or own, text)
        for id, path, own, text in read_layout(folder)
    ]


def _searched(folder: Path, speaker: str | None, skip: Path | None) -> list[Recording]:
    found = []
    for path in folder.rglob("*"):
        inner = path.relative_to(folder).with_suffix("")
        hidden = any(part.startswith(".") for part in inner.parts)
        skipped = skip is not None and path.resolve().is_relative_to(skip.resolve())
        if hidden or skipped or path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        parts = [part for part in inner.parts[:-1] if part.lower() not in _CONTAINERS]
        name = speaker or (parts.pop(0) if parts else folder.resolve().name)
        found.append(Recording("/".join([name, *parts, inner.name]), path, name))
    return found


def _listed(listing: Path, speaker: str | None) -> list[Recording]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{listing} cannot be read as UTF-8 text: {error}") from error
    folder = listing.parent
    name = speaker or folder.resolve().name
    found = []
    for line in lines:
        clip, *texts = line.strip().split("|")
        if not clip:
            continue
        inner = PurePosixPath(clip)
        if inner.is_absolute() or ".." in inner.parts:
            raise ValueError(f"{listing} lists {clip!r}, expected recordings beside it or in its wavs")
        inner = inner.with_suffix("") if inner.suffix.lower() in AUDIO_SUFFIXES else inner
        parts = [part for part in inner.parts[:-1] if part.lower() not in _CONTAINERS]
        places = [folder / place / f"{inner}{suffix}" for place in ("", "wavs", "wav") for suffix in AUDIO_SUFFIXES]
        path = next((place for place in places if place.is_file()), None)
        text = texts[-1].strip() if texts else ""
        found.append(Recording("/".join([name, *parts, inner.name]), path, name, text))
    return found
