"""A folder of recordings becomes a corpus: clean audio, a manifest, and a report of what was set aside."""

import csv
import io as textio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from waveflow.data import runners
from waveflow.data.cleaning import CleaningConfig
from waveflow.data.discovery import Recording, find_recordings
from waveflow.data.journal import Journal, target_of
from waveflow.data.manifest import SPLITS, Entry, Manifest, deal, split_of
from waveflow.files import replacing


@dataclass(frozen=True)
class Rejected:
    """A recording that was set aside: its id, its file, the reason in a word or two, and the details."""

    id: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Report:
    """What preprocessing did: the corpus, what was set aside, and how many of the kept have a note."""

    manifest: Manifest
    rejected: tuple[Rejected, ...]
    notes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Counts, hours, and every recording set aside, ready for JSON."""
        entries = self.manifest.entries
        return {
            "found": len(entries) + len(self.rejected),
            "kept": len(entries),
            "hours": round(self.manifest.hours, 4),
            "splits": {**dict.fromkeys(SPLITS, _amount([])), **_amounts(entries, "split")},
            "speakers": _amounts(entries, "speaker"),
            "notes": self.notes,
            "set_aside": dict(sorted(Counter(rejected.reason for rejected in self.rejected).items())),
            "files": [asdict(rejected) for rejected in self.rejected],
        }

    def write(self) -> None:
        """Write `report.json`, and the recordings set aside as `report.csv`, into the corpus' folder."""
        with replacing(self.manifest.folder / "report.json") as file:
            file.write(json.dumps(self.to_dict(), indent=2, ensure_ascii=False).encode() + b"\n")
        text = textio.StringIO()
        table = csv.writer(text)
        table.writerow(["id", "path", "reason", "detail"])
        table.writerows([r.id, r.path, r.reason, r.detail] for r in self.rejected)
        with replacing(self.manifest.folder / "report.csv") as file:
            file.write(text.getvalue().encode())


def preprocess(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    cleaning: CleaningConfig | None = None,
    *,
    validation: float = 0.05,
    test: float = 0.05,
    seed: int = 0,
    speaker: str | None = None,
    workers: int = 1,
    runner: str = "local",
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Turn recordings into a corpus: `audio/**.flac`, `manifest.jsonl`, `report.json` and `report.csv` in
    `out`.

    A run that was stopped, at any point, goes on where it stopped when it is started again; recordings added
    to the sources join. The result is the same as that of a run that was not stopped.

    Args:
        sources: Folders of recordings, or metadata files; see `find_recordings`.
        out: Folder of the corpus.
        cleaning: What is done to each recording.
        validation: Share of the corpus for validation, see `deal`.
        test: Share of the corpus for tests.
        seed: Another number splits anew.
        speaker: Name for the speaker of all recordings, instead of folder names.
        workers: Processes; above 1, a script must guard its main part with `if __name__ == "__main__"`.
        runner: `local` for processes on this machine, `ray` for Ray Data, here or on the cluster of RAY_ADDRESS; the
            corpus is the same.
        overwrite: Begin anew where `out` holds a corpus made with other settings, instead of refusing.
        on_progress: Called with the numbers of recordings done and of all.

    Raises:
        ValueError: Nothing found, nothing fit for training, or `out` was made with other settings.
        OSError: `out` cannot be written; what is done is kept.
        RuntimeError: A worker process was killed.
    """
    cleaning = cleaning or CleaningConfig()
    out = Path(out)
    split_of("", validation, test, seed)
    recordings = [r for source in sources for r in find_recordings(Path(source), speaker, skip=out)]
    unique, rejected = _unique(recordings)
    out.mkdir(parents=True, exist_ok=True)
    with Journal(out, cleaning, overwrite) as journal:
        todo = [recording for recording in unique if not journal.holds(recording)]
        done = len(recordings) - len(todo)
        for record in runners.run(runner, todo, out, cleaning, workers):
            journal.add(record)
            done += 1
            if on_progress:
                on_progress(done, len(recordings))
        records = [(recording, journal.records[recording.id]) for recording in unique]

    entries: dict[str, Entry] = {}
    notes: Counter[str] = Counter()
    for recording, record in records:
        if "reason" in record:
            rejected.append(Rejected(recording.id, str(recording.path), record["reason"], record["detail"]))
        elif record["sha256"] in entries:
            detail = f"the same audio as {entries[record['sha256']].id}"
            rejected.append(Rejected(recording.id, str(recording.path), "duplicate", detail))
        else:
            notes.update(record["notes"])
            entries[record["sha256"]] = Entry(
                recording.id,
                target_of(recording.id),
                recording.speaker,
                recording.text,
                cleaning.sample_rate,
                record["n_samples"],
                round(record["n_samples"] / cleaning.sample_rate, 6),
                record["sha256"],
                "train",
            )
    parts = deal((entry.id for entry in entries.values()), validation, test, seed)
    kept = tuple(replace(entry, split=parts[entry.id]) for entry in entries.values())
    rejected.sort(key=lambda item: (item.id, item.path))
    report = Report(Manifest(out, kept), tuple(rejected), dict(sorted(notes.items())))
    report.write()
    if not entries:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.to_dict()["set_aside"].items())
        raise ValueError(f"none of {len(recordings)} recordings is fit for training: {reasons}; see {out}/report.csv")
    report.manifest.write()
    return report


def _amounts(entries: Iterable[Entry], attribute: str) -> dict[str, dict[str, float]]:
    groups: dict[str, list[float]] = {}
    for entry in entries:
        groups.setdefault(getattr(entry, attribute), []).append(entry.duration)
    return {name: _amount(groups[name]) for name in sorted(groups)}


def _amount(seconds: Sequence[float]) -> dict[str, float]:
    return {"clips": len(seconds), "hours": round(sum(seconds) / 3600, 4)}


def _unique(recordings: Iterable[Recording]) -> tuple[list[Recording], list[Rejected]]:
    """Recordings that are there, one for each id, sorted; and the others."""
    first: dict[str, Recording] = {}
    rejected = []
    for recording in sorted(recordings, key=lambda r: r.id):
        # Python reads the names of other encodings as what no text file can hold.
        id, path = (str(name).encode(errors="backslashreplace").decode() for name in (recording.id, recording.path))
        if (id, path) != (recording.id, str(recording.path)):
            rejected.append(Rejected(id, path, "name", "the name is no UTF-8; rename it"))
        elif recording.path is None:
            rejected.append(Rejected(recording.id, "", "missing", "listed, but there is no such sound file"))
        elif recording.id in first:
            detail = f"the same id as {first[recording.id].path}; rename one, or give each its own folder"
            rejected.append(Rejected(recording.id, str(recording.path), "duplicate", detail))
        else:
            first[recording.id] = recording
    return list(first.values()), rejected
