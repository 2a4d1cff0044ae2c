"""Training items out of shards: shuffled, the same in every process and every run, from anywhere in an epoch."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.data.audio_cache import AudioCache
from waveflow.data.cutting import SegmentCutter
from waveflow.data.dataset import Item, ItemDataset
from waveflow.data.sampling import SegmentSampling, seed_of
from waveflow.data.shard_store import ShardError, store_of
from waveflow.data.shards import Place, Shard, ShardList


class _Window(NamedTuple):
    """Shards that are open together: what is in them, and which segment of it each item is."""

    places: list[tuple[Shard, Place]]
    sampling: SegmentSampling


class ShardDataset(ItemDataset):
    """Random segments of a corpus in shards, numbered without end, like those of a `SegmentDataset`.

    Every epoch deals the shards anew into windows of some shards each, and the segments of a window anew into its
    items, so that a process reads few files at a time, and each of them once an epoch. Item `k` depends on nothing but
    the seed, so that a run goes on in the middle of an epoch exactly, with any number of processes.

    A recording or a whole shard that is damaged or missing is reported once, as a warning, and the next recording of
    the window stands in for it.

    Args:
        shards: The lists, or their folder.
        segment: Samples of an item.
        mel: The mel contract.
        window: Shards among which segments are shuffled.
        source: Folder or http(s) address of the tar files, where they are not beside the lists.
        cache: Folder for shards from an address, of which twice `window` are kept.
        seed: Another number deals anew.
        balance: Exponent of the speakers' shares in a window, see `SegmentSampling`.
        aligned: As `SegmentDataset`, and so the following.
        frames_ahead: Mel frames after the last of the segment.
        gain_db: Lowest and highest change of level, dB.
        gain_share: Share of the items whose level is changed.
        cache_bytes: Memory for decoded audio, in each process that reads.

    Raises:
        ValueError: Rates differ, or an address without a cache.
    """

    def __init__(
        self,
        shards: ShardList | str | Path,
        segment: int,
        mel: MelConfig,
        *,
        window: int = 8,
        source: str | None = None,
        cache: str | Path | None = None,
        seed: int = 0,
        balance: float = 1.0,
        aligned: bool = True,
        frames_ahead: int = 0,
        gain_db: Sequence[float] = (0.0, 0.0),
        gain_share: float = 0.0,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.list = shards if isinstance(shards, ShardList) else ShardList.read(shards)
        if self.list.sample_rate != mel.sample_rate:
            raise ValueError(
                f"{self.list.folder} holds audio at {self.list.sample_rate} Hz, the mel contract asks for "
                f"{mel.sample_rate} Hz; run `waveflow preprocess` with --sample-rate {mel.sample_rate}"
            )
        if window < 1:
            raise ValueError(f"window is {window} shards, expected at least one")
        self.cutter = SegmentCutter(
            segment, mel, aligned=aligned, frames_ahead=frames_ahead, gain_db=gain_db, gain_share=gain_share
        )
        self.transform, self.speakers = self.cutter.transform, self.list.speakers
        self.window, self.seed, self.balance = window, seed, balance
        self.store = store_of(self.list.folder, source, cache, 2 * window)
        self.n_items = [max(1, shard.samples // segment) for shard in self.list.shards]
        self.kept = AudioCache(cache_bytes)
        self._reported: set[str] = set()
        self._windows = functools.lru_cache(2)(self._open)

    def __len__(self) -> int:
        return sum(self.n_items)

    def __getitem__(self, item: int) -> Item:
        epoch, number = divmod(item, len(self))
        order, ends = self._plan(epoch)
        index = int(np.searchsorted(ends, number, side="right"))
        window = self._windows(epoch, index)
        first = 0 if index == 0 else int(ends[index - 1])
        chosen, place, chance, level = window.sampling(number - first)
        for k in range(len(window.places)):
            shard, found = window.places[(chosen + k) % len(window.places)]
            audio = self._audio(shard, found)
            if audio is not None:
                segment, mel = self.cutter.with_own_mel(audio, place, chance, level)
                return Item(segment, mel, self.speakers.index(found.entry.speaker), found.entry.id)
        names = ", ".join(self.list.shards[i].name for i in order[index * self.window : (index + 1) * self.window])
        raise ValueError(f"no recording in {names} can be read; look at {self.store}, or write the shards again")

    def _plan(self, epoch: int) -> tuple[list[int], np.ndarray]:
        """The order of the shards in an epoch, and the item after the last of each window."""
        raw = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)).random_raw(len(self.n_items))
        order = np.argsort(raw, kind="stable").tolist()
        counts = [
            sum(self.n_items[i] for i in order[begin : begin + self.window])
            for begin in range(0, len(order), self.window)
        ]
        return order, np.cumsum(counts)

    def _open(self, epoch: int, index: int) -> _Window:
        order, _ = self._plan(epoch)
        chosen = [self.list.shards[i] for i in order[index * self.window : (index + 1) * self.window]]
        places = [
            (shard, place)
            for shard in chosen
            for place in self._places(shard)
            if self.cutter.last_begin(place.entry.n_samples) >= 0
        ]
        if not places:
            names = ", ".join(shard.name for shard in chosen)
            raise ValueError(
                f"no recording in {names} is as long as a segment of {self.cutter.segment} samples; shorten the "
                "segment, by data.segment in training"
            )
        sampling = SegmentSampling(
            [place.entry.n_samples for _, place in places],
            self.cutter.segment,
            [place.entry.speaker for _, place in places],
            self.balance,
            seed_of(self.seed, epoch, index),
            epoch_length=sum(self.n_items[i] for i in order[index * self.window : (index + 1) * self.window]),
        )
        return _Window(places, sampling)

    def _places(self, shard: Shard) -> list[Place]:
        try:
            return self.list.places(shard)
        except ValueError as error:
            self._report(shard.name, str(error))
            return []

    def _audio(self, shard: Shard, place: Place) -> Tensor | None:
        """The recording `(T,)`; None where it cannot be had."""
        entry = place.entry
        if (kept := self.kept.get(entry.id)) is not None:
            return kept
        try:
            data = self.store.read(shard, place.offset, place.bytes)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise ValueError("its bytes are not what the list says")
            values, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        except ShardError as error:
            self._report(shard.name, f"the shard {shard.name} is skipped: {error}")
            return None
        except (ValueError, soundfile.SoundFileError) as error:
            self._report(entry.id, f"{entry.id} in {shard.name} is skipped: {error}")
            return None
        return self.kept.put(entry.id, torch.from_numpy(values))

    def _report(self, name: str, message: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            warnings.warn(message, stacklevel=3)
