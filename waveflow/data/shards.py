"""A corpus in tar files, as WebDataset names what is in them, with lists that say where everything is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from waveflow.data.manifest import Entry, Manifest, entry_of
from waveflow.files import replacing

NAME = "shards.json"
FORMAT, FORMAT_VERSION = "waveflow-shards", 1


@dataclass(frozen=True)
class Shard:
    """A tar file: name, bytes, SHA-256, and how many recordings and samples are in it."""

    name: str
    bytes: int
    sha256: str
    recordings: int
    samples: int


class Place(NamedTuple):
    """A recording in a shard: its entry, and where the bytes of its sound file begin and how many there are."""

    entry: Entry
    offset: int
    bytes: int


@dataclass(frozen=True)
class ShardList:
    """The shards of a corpus' training split, as `shards.json` says.

    Attributes:
        folder: Where the lists are; the tar files may be elsewhere.
        sample_rate: Hz.
        speakers: All of them, sorted.
        shards: In order.
    """

    folder: Path
    sample_rate: int
    speakers: tuple[str, ...]
    shards: tuple[Shard, ...]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> ShardList:
        """Read `shards.json`.

        Raises:
            ValueError: Missing, damaged, or of another version.
        """
        path = Path(folder) / NAME
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] != FORMAT or facts["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format {facts['format']} {facts['format_version']}")
            shards = tuple(Shard(**shard) for shard in facts["shards"])
            return cls(path.parent, facts["sample_rate"], tuple(facts["speakers"]), shards)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no list of shards ({error}); write it with `waveflow preprocess --shards`"
            ) from error

    def places(self, shard: Shard) -> list[Place]:
        """The recordings of a shard, from the list beside `shards.json`.

        Raises:
            ValueError: The list is missing or damaged.
        """
        path = self.folder / list_of(shard.name)
        try:
            return _read_places(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read ({error}); write the shards again") from error


def is_sharded(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a list of shards."""
    return (Path(folder) / NAME).is_file()


def list_of(name: str) -> str:
    """The file that lists what is in a shard."""
    return name.removesuffix(".tar") + ".jsonl"


def write_shards(
    manifest: Manifest,
    out: str | os.PathLike[str],
    *,
    megabytes: float = 512,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ShardList, list[str]]:
    """Pack the training split of a corpus into tar files, in an order without order.

    In a tar file each recording is `<id>.flac` and `<id>.json`, one after the other, as WebDataset has it. The bytes
    depend on nothing but the corpus, the size and the seed. Shards that are there and whole are not written again. The
    other splits, which are small and read at random, are copied as files with a manifest of their own.

    Args:
        manifest: The corpus.
        out: Folder of the shards, another than the corpus'.
        megabytes: Of sound in a shard, at most, 10^6 bytes; a longer recording has one of its own.
        seed: Another number deals anew.
        on_progress: Called with the numbers of recordings done and of all.

    Returns:
        The shards, and a sentence about each recording that was left out because its file is missing or damaged.

    Raises:
        ValueError: The corpus' own folder, or nothing to train on.
        OSError: The folder cannot be written.
    """
    out = Path(out)
    if out.resolve() == manifest.folder.resolve():
        raise ValueError(f"{out} is the folder of the corpus; give the shards one of their own")
    entries = sorted(
        manifest.split("train").entries, key=lambda entry: hashlib.sha256(f"{seed}:{entry.id}".encode()).digest()
    )
    out.mkdir(parents=True, exist_ok=True)
    skipped: list[str] = []
    shards, done = [], 0
    for number, group in enumerate(_groups(manifest, entries, megabytes * 1e6, skipped)):
        name = f"train-{number:06d}.tar"
        shard = _whole(out / name, group) or _write_shard(out / name, manifest, group, skipped)
        shards += [shard] if shard.recordings else []
        done += len(group)
        if on_progress:
            on_progress(done, len(entries))
    if not shards:
        raise ValueError(f"no recording of {manifest.folder} can be read: {skipped[0]}")
    _copy_others(manifest, out)
    found = ShardList(out, entries[0].sample_rate, tuple(manifest.speakers), tuple(shards))
    facts: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "sample_rate": found.sample_rate}
    facts |= {"speakers": found.speakers, "shards": [asdict(shard) for shard in shards]}
    with replacing(out / NAME) as file:
        file.write(json.dumps(facts, indent=2).encode() + b"\n")
    return found, skipped


def _groups(manifest: Manifest, entries: Sequence[Entry], most: float, skipped: list[str]) -> list[list[Entry]]:
    groups: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        path = manifest.path(entry)
        if not path.is_file():
            skipped.append(f"{entry.id} is left out: {path} does not exist")
            continue
        bytes = path.stat().st_size
        if groups[-1] and size + bytes > most:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += bytes
    return [group for group in groups if group]


def _write_shard(path: Path, manifest: Manifest, group: Sequence[Entry], skipped: list[str]) -> Shard:
    places = []
    with replacing(path) as file:
        hashed = _Hashing(file)
        with tarfile.open(fileobj=hashed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for entry in group:
                data = manifest.path(entry).read_bytes()
                if hashlib.sha256(data).hexdigest() != entry.sha256:
                    skipped.append(f"{entry.id} is left out: {manifest.path(entry)} is not what the manifest says")
                    continue
                key = key_of(entry)
                _add(tar, f"{key}.flac", data)
                places.append(Place(entry, hashed.length - _padded(len(data)), len(data)))
                _add(tar, f"{key}.json", json.dumps(asdict(entry), ensure_ascii=False).encode())
    with replacing(path.with_name(list_of(path.name))) as file:
        for place in places:
            facts = {**asdict(place.entry), "offset": place.offset, "bytes": place.bytes}
            file.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
    samples = sum(place.entry.n_samples for place in places)
    return Shard(path.name, hashed.length, hashed.digest.hexdigest(), len(places), samples)


def key_of(entry: Entry) -> str:
    """Name of a recording in a tar file: its id without the dots, after the first of which WebDataset cuts."""
    return entry.id if "." not in entry.id else f"{entry.id.replace('.', '_')}_{entry.sha256[:8]}"


def _whole(path: Path, group: Sequence[Entry]) -> Shard | None:
    """The shard that an earlier run wrote, where it holds this group, to the byte."""
    try:
        places = _read_places(path.with_name(list_of(path.name)))
        if [place.entry for place in places] != list(group):
            return None
        with open(path, "rb") as file:
            digest = _digest_of(file)
            for place in places:
                file.seek(place.offset)
                if hashlib.sha256(file.read(place.bytes)).hexdigest() != place.entry.sha256:
                    return None
        samples = sum(entry.n_samples for entry in group)
        return Shard(path.name, path.stat().st_size, digest.hexdigest(), len(places), samples)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _copy_others(manifest: Manifest, out: Path) -> None:
    others = tuple(entry for entry in manifest.entries if entry.split != "train")
    for entry in others:
        target = out / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.stat().st_size != manifest.path(entry).stat().st_size:
            with replacing(target) as file, open(manifest.path(entry), "rb") as source:
                shutil.copyfileobj(source, file)
    if others:
        Manifest(out, others).write()


def _read_places(path: Path) -> list[Place]:
    places = []
    for line in path.read_bytes().splitlines():
        facts = json.loads(line)
        offset, bytes = facts.pop("offset"), facts.pop("bytes")
        places.append(Place(entry_of(facts), offset, bytes))
    return places


class _Hashing(io.RawIOBase):
    """A file that is hashed as it is written."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest, self.length = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.file.write(data)
        self.digest.update(data)
        self.length += len(data)
        return len(data)

    def tell(self) -> int:
        return self.length


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    facts = tarfile.TarInfo(name)
    facts.size = len(data)
    tar.addfile(facts, io.BytesIO(data))


def _padded(n: int) -> int:
    return -(-n // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _digest_of(file: Any) -> Any:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest
