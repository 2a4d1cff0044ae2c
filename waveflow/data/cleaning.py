"""One recording of a corpus: brought to rate and level, or set aside with the reason."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from waveflow.audio.clipping import CLIPPED_SHARE, Clipping
from waveflow.audio.io import AudioError, EmptyAudioError, info, read_blocks, write
from waveflow.audio.resampling import resample_pieces

BLOCK = 1 << 20
SILENT_PEAK = 1e-4  # -80 dB
PEAK = 0.99
TRIM_FRAME, TRIM_HOP = 1024, 256
TRIM_MARGIN = 0.1  # seconds kept around speech, which begins and ends below any threshold


@dataclass
class CleaningConfig:
    """What is done to every recording.

    Attributes:
        sample_rate: Hz, of all audio written.
        min_seconds: Shorter recordings are set aside.
        max_seconds: Longer recordings are set aside; None takes any length.
        trim_db: Cut silence at both ends, more than this many dB below the loudest part; None cuts nothing.
        loudness: Bring to this loudness, LUFS (ITU-R BS.1770), short of clipping; None leaves levels.
        max_clipped: Share of clipped samples, or of such that 16 bits would clip, above which a recording is set aside;
            1 takes all.

    Raises:
        ValueError: A setting is out of its range.
    """

    sample_rate: int = 22050
    min_seconds: float = 0.5
    max_seconds: float | None = None
    trim_db: float | None = None
    loudness: float | None = None
    max_clipped: float = CLIPPED_SHARE

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate is {self.sample_rate}, expected Hz, e.g. 22050")
        if self.min_seconds < 0 or (self.max_seconds is not None and self.max_seconds <= self.min_seconds):
            raise ValueError(
                f"min_seconds {self.min_seconds} and max_seconds {self.max_seconds} leave no lengths; "
                "the first must be at least 0 and the second longer"
            )
        if self.trim_db is not None and self.trim_db <= 0:
            raise ValueError(f"trim_db is {self.trim_db}, expected dB below the loudest part, e.g. 40")
        if self.loudness is not None and not -70 <= self.loudness <= 0:
            raise ValueError(f"loudness is {self.loudness}, expected LUFS from -70 to 0, e.g. -23")
        if not 0 <= self.max_clipped <= 1:
            raise ValueError(f"max_clipped is {self.max_clipped}, expected a share from 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return asdict(self)


class SetAside(Exception):
    """A recording is not fit for training: a reason in a word or two, and the details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Cleaned:
    """What became of a recording that was kept: its length in samples, its file's hash, and what is to note."""

    n_samples: int
    sha256: str
    notes: tuple[str, ...]


def clean_file(source: Path, target: Path, config: CleaningConfig) -> Cleaned:
    """Bring a recording into a corpus: mono, resampled, trimmed, levelled, as 16-bit FLAC.

    Args:
        source: Any sound file.
        target: `.flac`, written whole or not at all; its folder is made.
        config: What is done.

    Raises:
        SetAside: The recording is unreadable, empty, silent, clipped, too short or too long.
        OSError: The target cannot be written.
    """
    try:
        header = info(source)
        if config.max_seconds is not None and header.duration > config.max_seconds:
            raise SetAside("too long", f"{header.duration:.2f} s, at most {config.max_seconds:g} s are taken")
        clipping = Clipping()
        audio = torch.cat(list(_mono(source, header.sample_rate, config.sample_rate, clipping)))
    except AudioError as error:
        raise SetAside("empty" if isinstance(error, EmptyAudioError) else "unreadable", str(error)) from error
    notes = []
    if header.sample_rate < config.sample_rate:
        notes.append("upsampled")
    if clipping.share > config.max_clipped:
        raise SetAside("clipped", f"{clipping.share:.2%} of the samples stand at full scale")
    if config.loudness is None and clipping.share_beyond > config.max_clipped:
        detail = f"{clipping.share_beyond:.2%} of the samples are beyond full scale; a loudness brings them within"
        raise SetAside("clipped", detail)
    peak = float(audio.abs().max())
    if peak < SILENT_PEAK:
        raise SetAside("silent", f"peak {peak:.2g}, {20 * math.log10(max(peak, 1e-10)):.0f} dB")
    if config.trim_db is not None:
        audio = trim(audio, config.sample_rate, config.trim_db)
    seconds = len(audio) / config.sample_rate
    if seconds < config.min_seconds:
        raise SetAside("too short", f"{seconds:.2f} s, at least {config.min_seconds:g} s are needed")
    if config.loudness is not None:
        audio, limited = level(audio, config.sample_rate, config.loudness)
        notes += ["loudness limited by peak"] * limited
    target.parent.mkdir(parents=True, exist_ok=True)
    if write(target, audio, config.sample_rate):
        notes.append("peaks clipped")
    return Cleaned(len(audio), hashlib.sha256(target.read_bytes()).hexdigest(), tuple(notes))


def _mono(source: Path, rate: int, target: int, clipping: Clipping) -> Iterator[Tensor]:
    def mixed() -> Iterator[Tensor]:
        for block in read_blocks(source, BLOCK, mono=False):
            clipping.watch(block)
            yield block.mean(0)

    return mixed() if rate == target else resample_pieces(mixed(), rate, target)


def trim(audio: Tensor, sample_rate: int, below_db: float) -> Tensor:
    """Cut both ends where the level is more than `below_db` under the loudest frame, less a margin of 0.1 s.

    Args:
        audio: `(T,)`.
        sample_rate: Hz.
        below_db: dB, positive.
    """
    frames = functional.pad(audio, (0, TRIM_FRAME)).unfold(0, TRIM_FRAME, TRIM_HOP)
    power = frames.square().mean(-1)
    speech = (power > power.max() * 10 ** (-below_db / 10)).nonzero()
    margin = int(TRIM_MARGIN * sample_rate)
    begin = int(speech[0]) * TRIM_HOP - margin
    end = int(speech[-1]) * TRIM_HOP + TRIM_FRAME + margin
    return audio[max(begin, 0) : end].clone()


def level(audio: Tensor, sample_rate: int, lufs: float) -> tuple[Tensor, bool]:
    """Bring audio `(T,)` to a loudness, or as near as its peak allows; whether the peak was the limit.

    Loudness as ITU-R BS.1770-4, gated, in LUFS.
    """
    shortest = math.ceil(0.4 * sample_rate)  # one gating block
    measured = functional.pad(audio, (0, max(0, shortest - len(audio))))
    found = float(torchaudio.functional.loudness(measured[None], sample_rate))
    highest = PEAK / float(audio.abs().max())
    gain = 10 ** ((lufs - found) / 20) if math.isfinite(found) else highest
    return audio * min(gain, highest), gain > highest
