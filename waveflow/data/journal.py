"""What preprocessing has done so far, on the disk, so that a run killed at any point can go on."""

import json
from pathlib import Path
from typing import Any

from waveflow.data.cleaning import CleaningConfig
from waveflow.data.discovery import Recording
from waveflow.files import replacing

NAME = ".progress.jsonl"


def target_of(id: str) -> str:
    """Where the audio of a recording goes, in the folder of the corpus."""
    return f"audio/{id}.flac"


class Journal:
    """A line for each recording that is done, after one with the settings; a context manager while it grows.

    Attributes:
        records: What became of each recording, by id.

    Raises:
        ValueError: The folder was made with other settings, and must not be overwritten.
    """

    def __init__(self, out: Path, cleaning: CleaningConfig, overwrite: bool) -> None:
        self.out, self.path = out, out / NAME
        self.settings = cleaning.to_dict()
        self.records: dict[str, dict[str, Any]] = {}
        lines = self.path.read_text("ascii", errors="replace").splitlines() if self.path.exists() else []
        found, *records = [record for record in map(_parsed, lines) if record] or [{"settings": self.settings}]
        if found.get("settings") == self.settings:
            self.records = {record["id"]: record for record in records if "id" in record}
        elif not overwrite:
            was = found.get("settings") or {}
            changed = [f"{k} {was.get(k)} -> {v}" for k, v in self.settings.items() if was.get(k) != v]
            raise ValueError(
                f"{out} holds a corpus made with other settings ({', '.join(changed)}); "
                "choose another folder, or overwrite it"
            )
        for part in out.rglob(".*.part"):  # of a process that was killed while writing
            part.unlink()

    def __enter__(self) -> "Journal":
        with replacing(self.path) as file:  # without the half line that a kill may have left
            for record in [{"settings": self.settings}, *self.records.values()]:
                file.write(json.dumps(record).encode() + b"\n")
        self.file = open(self.path, "ab")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Note what became of a recording."""
        self.records[record["id"]] = record
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()

    def holds(self, recording: Recording) -> bool:
        """Whether a recording is done: its file has not changed since, and neither has what was made of it."""
        record = self.records.get(recording.id)
        assert recording.path is not None
        if record is None or record["source"] != fingerprint(recording.path):
            return False
        made = self.out / target_of(recording.id)
        return "reason" in record or (made.is_file() and made.stat().st_size == record["bytes"])


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def fingerprint(path: Path) -> list[int]:
    """Size and time of a file, by which a changed one is known."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
