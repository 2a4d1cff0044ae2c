"""The list of a corpus: which recordings there are, how long they are, and what each is used for."""

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from waveflow.files import replacing

SPLITS = ("train", "validation", "test")
NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Entry:
    """One recording of a corpus.

    Attributes:
        id: Unique name, `speaker/clip`.
        path: Sound file, relative to the folder of the manifest, with `/`.
        speaker: Who speaks.
        text: What is said; empty where it is not known.
        sample_rate: Hz.
        n_samples: Length, samples.
        duration: Length, seconds.
        sha256: Of the sound file's bytes.
        split: "train", "validation" or "test".
    """

    id: str
    path: str
    speaker: str
    text: str
    sample_rate: int
    n_samples: int
    duration: float
    sha256: str
    split: str


def split_of(id: str, validation: float, test: float, seed: int = 0) -> str:
    """The part of the corpus that a recording belongs to.

        u = sha256(seed, id) / 2^256;   test where u < test, validation where u < test + validation

    It depends on nothing but the id, so recordings that join later move none. `deal` fills what stays empty.

    Args:
        id: Of the recording.
        validation: Share of the corpus, 0 to 1.
        test: Share of the corpus, 0 to 1.
        seed: Another number deals anew.

    Raises:
        ValueError: The shares are no shares, or leave nothing to train on.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            f"validation {validation} and test {test} are shares of the corpus: each at least 0, together below 1"
        )
    u = _place(id, seed)
    if u < test:
        return "test"
    return "validation" if u < test + validation else "train"


def deal(ids: Iterable[str], validation: float, test: float, seed: int = 0) -> dict[str, str]:
    """The part of the corpus for each of its recordings.

    It is that of `split_of`, unless two or more recordings leave the training without any, or the validation, of which
    a share was asked for. Then the recording whose u is nearest to that part is moved there, from a part that can spare
    it; it may move back when others join.

    Args:
        ids: Of all recordings.
        validation: Share of the corpus, 0 to 1.
        test: Share of the corpus, 0 to 1.
        seed: Another number deals anew.

    Raises:
        ValueError: The shares are no shares, or leave nothing to train on.
    """
    found = {id: split_of(id, validation, test, seed) for id in ids}
    ends = {"train": 1.0, **({"validation": test + validation / 2} if validation else {})}
    for part, end in ends.items():
        if len(found) < 2 or part in found.values():
            continue
        counts = Counter(found.values())
        spare = [id for id in found if counts[found[id]] > 1] or [id for id in found if found[id] == "test"]
        found[min(spare, key=lambda id: abs(_place(id, seed) - end))] = part
    return found


def _place(id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Manifest:
    """The recordings of a corpus, sorted by id, and the folder they lie in."""

    folder: Path
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Manifest":
        """Read `manifest.jsonl`, one JSON object a line; `path` may be its folder.

        Raises:
            ValueError: Missing, empty, no UTF-8, or a line that is no entry, which is named.
        """
        path = Path(path)
        path = path / NAME if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"{path} does not exist; make it with `waveflow preprocess`")
        entries = []
        # As bytes: in text a line would end at U+2028 and the like, which names and texts may hold.
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                if line.strip():
                    entries.append(entry_of(json.loads(line)))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}; run `waveflow preprocess` again") from error
        if not entries:
            raise ValueError(f"{path} lists no recordings; see report.json beside it for the reasons")
        return cls(path.parent, tuple(entries))

    def write(self) -> Path:
        """Write `manifest.jsonl` into the folder, whole or not at all, and return its path."""
        path = self.folder / NAME
        with replacing(path) as file:
            for entry in self.entries:
                file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
        return path

    def split(self, name: str) -> "Manifest":
        """The recordings of one split.

        Raises:
            ValueError: No such split, or none in it.
        """
        if name not in SPLITS:
            raise ValueError(f"split is {name!r}, expected one of {', '.join(SPLITS)}")
        entries = tuple(entry for entry in self.entries if entry.split == name)
        if not entries:
            raise ValueError(
                f"no recording of {self.folder} is in the {name} split; raise its share in `waveflow "
                "preprocess`, or add recordings"
            )
        return Manifest(self.folder, entries)

    def path(self, entry: Entry) -> Path:
        """Where the sound file of an entry is."""
        return self.folder / entry.path

    @property
    def speakers(self) -> Sequence[str]:
        """All speakers, sorted."""
        return sorted({entry.speaker for entry in self.entries})

    @property
    def hours(self) -> float:
        """Length of all recordings together."""
        return math.fsum(entry.duration for entry in self.entries) / 3600


def entry_of(values: Any) -> Entry:
    """An entry from a line's JSON value.

    Raises:
        ValueError: It is no entry.
    """
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {str(values)[:40]!r}")
    expected: dict[str, Any] = {field.name: field.type for field in fields(Entry)}
    wrong = set(values) ^ set(expected)
    if wrong:
        raise ValueError(f"keys {sorted(wrong)} are missing or unknown")
    for name, kind in expected.items():
        if not isinstance(values[name], (int, float) if kind is float else kind):
            raise ValueError(f"{name} is {values[name]!r}, expected {kind.__name__}")
    if values["split"] not in SPLITS or values["n_samples"] < 1 or values["sample_rate"] < 1:
        raise ValueError(f"split, n_samples or sample_rate of {values['id']!r} is impossible")
    return Entry(**values)
