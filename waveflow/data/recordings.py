"""The recordings of a manifest, decoded and kept in memory, and the mels that were predicted for them."""

from pathlib import Path

from torch import Tensor

from waveflow.audio.io import read
from waveflow.audio.mel import MelConfig, check_mel
from waveflow.audio.mel_files import read_mel
from waveflow.audio.suffixes import MEL_SUFFIXES
from waveflow.data.audio_cache import AudioCache
from waveflow.data.manifest import Entry, Manifest


class Recordings:
    """Recordings of a manifest by index, the last used of them kept decoded.

    Args:
        manifest: The corpus, or a split of it.
        mel: The mel contract.
        mels: Folder of paired mels, `<id>.npy` (or another of `MEL_SUFFIXES`) for each recording.
        cache_bytes: Memory for decoded audio, in each process that reads.

    Raises:
        ValueError: The corpus has another rate than the contract, or a paired mel is missing.
    """

    def __init__(
        self, manifest: Manifest, mel: MelConfig, mels: str | Path | None = None, cache_bytes: int = 1 << 30
    ) -> None:
        rates = sorted({entry.sample_rate for entry in manifest.entries})
        if rates != [mel.sample_rate]:
            raise ValueError(
                f"{manifest.folder} holds audio at {rates} Hz, the mel contract asks for {mel.sample_rate} "
                f"Hz; run `waveflow preprocess` with --sample-rate {mel.sample_rate}"
            )
        self.manifest, self.mel, self.kept = manifest, mel, AudioCache(cache_bytes)
        self.mels = [_paired_mel(Path(mels), e.id) for e in manifest.entries] if mels is not None else None

    def __len__(self) -> int:
        return len(self.manifest.entries)

    def entry(self, index: int) -> Entry:
        """What the manifest says."""
        return self.manifest.entries[index]

    def audio(self, index: int) -> Tensor:
        """The whole recording, `(T,)`.

        Raises:
            ValueError: The file is missing, damaged, or not what the manifest says.
        """
        if (kept := self.kept.get(index)) is not None:
            return kept
        entry = self.entry(index)
        path = self.manifest.path(entry)
        audio, rate = read(path)
        if (len(audio), rate) != (entry.n_samples, entry.sample_rate):
            raise ValueError(
                f"{path} has {len(audio)} samples at {rate} Hz, the manifest says {entry.n_samples} at "
                f"{entry.sample_rate} Hz; run `waveflow preprocess` again"
            )
        return self.kept.put(index, audio)

    def paired_mel(self, index: int) -> Tensor:
        """The mel that an acoustic model made for the recording, `(n_mels, F)`, F right to one frame.

        Raises:
            ValueError: Not a mel of this contract, or of another length.
        """
        assert self.mels is not None
        path, entry = self.mels[index], self.entry(index)
        mel = read_mel(path)
        try:
            check_mel(mel, self.mel)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        expected = self.mel.frames(entry.n_samples)
        if mel.ndim != 2 or abs(mel.shape[-1] - expected) > 1:
            raise ValueError(
                f"{path} has shape {tuple(mel.shape)}, the recording {entry.id} has {expected} frames; make "
                "the mel with the durations of the recording (teacher forcing)"
            )
        return mel


def _paired_mel(folder: Path, id: str) -> Path:
    for suffix in MEL_SUFFIXES:
        path = folder / f"{id}{suffix}"
        if path.is_file():
            return path
    raise ValueError(f"{folder / id} has no mel file ({', '.join(MEL_SUFFIXES)}); every recording needs one")
