"""Training items out of a corpus: random segments or whole utterances, each with its mel."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.data.cutting import SegmentCutter
from waveflow.data.manifest import Manifest
from waveflow.data.recordings import Recordings
from waveflow.data.sampling import SegmentSampling


class Item(NamedTuple):
    """A recording or a segment of one: audio `(T,)`, mel `(n_mels, F)`, index of the speaker, id."""

    audio: Tensor
    mel: Tensor
    speaker: int
    id: str


@dataclass
class Batch:
    """What a training step sees.

    Attributes:
        audio: Full scale ±1, `(B, T)`, zero where an item is shorter.
        mel: `(B, n_mels, F)`, silence where an item is shorter.
        lengths: Samples of each item, `(B,)`.
        n_frames: Mel frames of each item, `(B,)`.
        speakers: Index of each item's speaker in the dataset's `speakers`, `(B,)`.
        ids: Of the recordings.
    """

    audio: Tensor
    mel: Tensor
    lengths: Tensor
    n_frames: Tensor
    speakers: Tensor
    ids: list[str]

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, as a DataLoader with `pin_memory` wants it."""
        return self._each(Tensor.pin_memory)

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {
            name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


class ItemDataset(Dataset[Item]):
    """What all datasets of items have.

    Attributes:
        transform: The mel transform of the contract.
        speakers: Names, in the order of the items' index.
    """

    transform: MelSpectrogram
    speakers: Sequence[str]

    def collate(self, items: Sequence[Item]) -> Batch:
        """Stack items, the shorter ones padded with silence: the `collate_fn` of a DataLoader."""
        lengths = [len(item.audio) for item in items]
        n_frames = [item.mel.shape[-1] for item in items]
        silence = self.transform.silence(max(n_frames))
        audio = torch.zeros(len(items), max(lengths))
        mel = silence.repeat(len(items), 1, 1)
        for row, item in enumerate(items):
            audio[row, : lengths[row]] = item.audio
            mel[row, :, : n_frames[row]] = item.mel
        return Batch(
            audio,
            mel,
            torch.tensor(lengths),
            torch.tensor(n_frames),
            torch.tensor([item.speaker for item in items]),
            [item.id for item in items],
        )


class _MelDataset(ItemDataset):
    def __init__(self, manifest: Manifest, mel: MelConfig, mels: str | Path | None, cache_bytes: int) -> None:
        self.recordings = Recordings(manifest, mel, mels, cache_bytes)
        self.transform = MelSpectrogram(mel)
        self.speakers = manifest.speakers


class SegmentDataset(_MelDataset):
    """Random segments of a corpus, numbered without end; item `k` is the same in every process and every run.

    `len` is the number of items of an epoch, so items `len` to `2 * len` are the second epoch. A segment's mel is
    that of the whole recording, cut: at its edges the frames see the samples before and after. Recordings shorter than
    a segment are not used; `left_out` has their ids.

    Args:
        manifest: The corpus, its folder, or its file.
        split: "train", "validation" or "test".
        segment: Samples of an item.
        mel: The mel contract.
        seed: Another number deals anew.
        balance: Exponent of the speakers' shares, see `SegmentSampling`.
        aligned: Segments begin where a mel frame of the recording belongs; else anywhere, on a grid of their
            own, which shows a small corpus in `hop_length` times as many ways.
        frames_ahead: Mel frames after the last of the segment.
        gain_db: Lowest and highest change of level, dB; no segment is raised beyond full scale.
        gain_share: Share of the items whose level is changed.
        mels: Folder of paired mels, see `Recordings`; a mel is cut where the audio is.
        cache_bytes: Memory for decoded audio, in each process that reads.

    Raises:
        ValueError: Rates differ, no recording is long enough, or paired mels are combined with what changes
            mels.
    """

    def __init__(
        self,
        manifest: Manifest | str | Path,
        split: str,
        segment: int,
        mel: MelConfig,
        *,
        seed: int = 0,
        balance: float = 1.0,
        aligned: bool = True,
        frames_ahead: int = 0,
        gain_db: Sequence[float] = (0.0, 0.0),
        gain_share: float = 0.0,
        mels: str | Path | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        if mels is not None and (not aligned or gain_share):
            raise ValueError("paired mels fit the recording as it is; set aligned=True and gain_share=0 with mels")
        self.cutter = SegmentCutter(
            segment, mel, aligned=aligned, frames_ahead=frames_ahead, gain_db=gain_db, gain_share=gain_share
        )
        last_begin = self.cutter.last_begin
        whole = (manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)).split(split)
        fitting = tuple(entry for entry in whole.entries if last_begin(entry.n_samples) >= 0)
        self.left_out = [entry.id for entry in whole.entries if last_begin(entry.n_samples) < 0]
        if not fitting:
            longest = max(entry.n_samples for entry in whole.entries)
            raise ValueError(
                f"no recording of the {split} split of {whole.folder} is as long as a segment of {segment} "
                f"samples, the longest has {longest}; shorten the segment, by data.segment in training"
            )
        super().__init__(Manifest(whole.folder, fitting), mel, mels, cache_bytes)
        self.sampling = SegmentSampling(
            [entry.n_samples for entry in fitting],
            segment,
            [entry.speaker for entry in fitting],
            balance,
            seed,
        )

    def __len__(self) -> int:
        return self.sampling.epoch_length

    def __getitem__(self, item: int) -> Item:
        index, place, chance, level = self.sampling(item)
        entry = self.recordings.entry(index)
        audio = self.recordings.audio(index)
        speaker = self.speakers.index(entry.speaker)
        if self.recordings.mels is not None:
            cut = self.cutter.with_paired_mel(audio, self.recordings.paired_mel(index), place)
        else:
            cut = self.cutter.with_own_mel(audio, place, chance, level)
        return Item(*cut, speaker, entry.id)


class UtteranceDataset(_MelDataset):
    """Whole recordings of a split, or their beginnings, as validation wants them.

    Args:
        manifest: The corpus, its folder, or its file.
        split: "train", "validation" or "test".
        mel: The mel contract.
        clips: At most so many recordings, chosen by a hash of their ids, so the same ones every time.
        seconds: Only this much of each.
        multiple: Cut audio to a multiple of so many samples, e.g. the model's `n_group`.
        mels: Folder of paired mels, see `Recordings`; then whole recordings only.
        cache_bytes: Memory for decoded audio, in each process that reads.

    Raises:
        ValueError: Rates differ, or paired mels are combined with what cuts recordings.
    """

    def __init__(
        self,
        manifest: Manifest | str | Path,
        split: str,
        mel: MelConfig,
        *,
        clips: int | None = None,
        seconds: float | None = None,
        multiple: int = 1,
        mels: str | Path | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        if mels is not None and seconds is not None:
            raise ValueError("paired mels belong to whole recordings; leave out `seconds` with `mels`")
        whole = (manifest if isinstance(manifest, Manifest) else Manifest.read(manifest)).split(split)
        fitting = [entry for entry in whole.entries if entry.n_samples >= max(multiple, mel.hop_length)]
        if not fitting:
            raise ValueError(f"every recording of the {split} split of {whole.folder} is shorter than a mel frame")
        chosen = sorted(fitting, key=lambda entry: hashlib.sha256(entry.id.encode()).digest())[:clips]
        super().__init__(
            Manifest(whole.folder, tuple(sorted(chosen, key=lambda entry: entry.id))), mel, mels, cache_bytes
        )
        self.seconds, self.multiple = seconds, multiple

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> Item:
        entry = self.recordings.entry(index)
        audio = self.recordings.audio(index)
        if self.seconds is not None:
            audio = audio[: max(self.multiple, int(self.seconds * entry.sample_rate))]
        audio = audio[: len(audio) // self.multiple * self.multiple]
        mel = self.transform(audio) if self.recordings.mels is None else self.recordings.paired_mel(index)
        return Item(audio, mel, self.speakers.index(entry.speaker), entry.id)
