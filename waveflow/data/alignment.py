"""Whether the frames of predicted mels lie where those of their recordings do."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.data.recordings import Recordings

MOST = 4
"""Frames of offset that are looked for, either way."""

CLIPS = 8
"""Recordings that are compared, at most."""

GAIN = 0.9
"""An offset counts where it brings the distance below this share of what it is without."""


class Offset(NamedTuple):
    """How much later a mel is than its recording, in halves of a frame, and its distance there and as it is."""

    half_frames: int
    distance: float
    distance_as_is: float


def frame_offset(mel: Tensor, own: Tensor) -> Offset:
    """Find how many frames a mel comes late against the recording's own.

        offset = argmin_s mean_f |mel[f + s] - own[f]|,    |s| <= 4, in steps of half a frame

    Each band is centred first, as a smooth prediction may be off in level. Halves are the mean of two neighbours.

    Args:
        mel: Predicted, `(n_mels, F)`.
        own: Of the recording under the contract, `(n_mels, F')`.
    """
    n = min(mel.shape[-1], own.shape[-1])
    mel, own = (x[:, :n] - x[:, :n].mean(1, keepdim=True) for x in (mel, own))
    most = min(MOST, (n - 1) // 4)
    distances = {half: _distance(mel, own, half) for half in range(-2 * most, 2 * most + 1)}
    # Whole offsets first: a mean of neighbours is smooth, and so nearer to everything that is uncertain.
    best = min(range(-2 * most, 2 * most + 1, 2), key=lambda half: distances[half])
    for half in (best - 1, best + 1):
        if half in distances and distances[half] < GAIN * distances[best]:
            best = half
    return Offset(best, distances[best], distances[0])


def check_alignment(recordings: Recordings) -> None:
    """Compare some recordings with the mels that were predicted for them.

    Raises:
        ValueError: Most of the mels lie the same number of frames off; says how many, and what to do.
    """
    assert recordings.mels is not None
    transform = MelSpectrogram(recordings.mel)
    n = len(recordings)
    chosen = sorted({round(i * (n - 1) / max(1, min(CLIPS, n) - 1)) for i in range(min(CLIPS, n))})
    offsets = [frame_offset(recordings.paired_mel(i), transform(recordings.audio(i))) for i in chosen]
    (half, count), *_ = Counter(offset.half_frames for offset in offsets).most_common(1)
    agreeing = [offset for offset in offsets if offset.half_frames == half]
    there, as_is = (sum(column) / count for column in list(zip(*agreeing))[1:])
    if half == 0 or 3 * count < 2 * len(offsets) or there > GAIN * as_is:
        return
    folder = recordings.mels[0].parent
    raise ValueError(
        f"the mels in {folder} and elsewhere are {_frames(half)} {'late' if half > 0 else 'early'} against their "
        f"recordings ({count} of {len(offsets)} compared; log-mel distance {there:.2f} so, {as_is:.2f} as they are); "
        + _remedy(half, recordings)
    )


def _distance(mel: Tensor, own: Tensor, half: int) -> float:
    if half % 2:
        mel = 0.5 * (mel[:, 1:] + mel[:, :-1])
        half -= 1
    shift = half // 2
    late, early = (mel[:, max(0, shift) :], own[:, max(0, -shift) :])
    n = min(late.shape[1], early.shape[1])
    return float((late[:, :n] - early[:, :n]).abs().mean())


def _frames(half: int) -> str:
    whole = abs(half) / 2
    return f"{whole:g} frame{'s' if whole > 1 else ''}"


def _remedy(half: int, recordings: Recordings) -> str:
    mel = recordings.mel
    centre = mel.n_fft // 2 - mel.margins[0]
    first = f"{centre} + " if centre else ""
    contract = f"the contract centres frame f on sample {first}f * {mel.hop_length} (padding={mel.padding!r})"
    if half % 2:
        other = "same" if mel.padding == "center" else "center"
        return (
            f"{contract}, padding={other!r} lies half a frame off; compute the acoustic model's targets by the contract"
        )
    n = abs(half) // 2
    do = f"drop the first {n} of every mel" if half > 0 else f"repeat the first frame of every mel {n} times more"
    return f"{contract}; {do}, or look for a start frame or a silence that the acoustic model counts differently"
