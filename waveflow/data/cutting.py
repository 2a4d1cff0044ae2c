"""A segment and its mel, cut out of a recording."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from waveflow.audio.mel import MelConfig, MelSpectrogram


class SegmentCutter:
    """Cuts segments with the mel of the whole recording: at its edges the frames see the samples before and after.

    Args:
        segment: Samples of an item.
        mel: The mel contract.
        aligned: Segments begin where a mel frame of the recording belongs; else anywhere, on a grid of their own.
        frames_ahead: Mel frames after the last of the segment.
        gain_db: Lowest and highest change of level, dB; no segment is raised beyond full scale.
        gain_share: Share of the items whose level is changed.

    Raises:
        ValueError: A segment of no samples.
    """

    def __init__(
        self,
        segment: int,
        mel: MelConfig,
        *,
        aligned: bool,
        frames_ahead: int = 0,
        gain_db: Sequence[float] = (0.0, 0.0),
        gain_share: float = 0.0,
    ) -> None:
        if segment < 1:
            raise ValueError(f"segment is {segment}, expected at least one sample")
        self.segment, self.hop = segment, mel.hop_length if aligned else 1
        self.gain_db, self.gain_share = tuple(gain_db), gain_share
        self.n_frames = -(-segment // mel.hop_length) + frames_ahead
        self.span = (self.n_frames - 1) * mel.hop_length + mel.n_fft
        self.surplus = sum(mel.margins) - self.span
        self.transform = MelSpectrogram(mel)

    def last_begin(self, n_samples: int) -> int:
        """The last sample at which a segment can begin, so that its audio and frames lie in the recording; negative
        where none can."""
        return min(n_samples - self.segment, n_samples + self.surplus)

    def with_own_mel(self, audio: Tensor, place: float, chance: float, level: float) -> tuple[Tensor, Tensor]:
        """Cut audio `(T,)` and compute its mel.

        Args:
            audio: The recording.
            place: Where, 0 to 1.
            chance: Below `gain_share` the level is changed.
            level: Where in `gain_db`, 0 to 1.
        """
        begin = int(place * (self.last_begin(len(audio)) // self.hop + 1)) * self.hop
        segment = audio[begin : begin + self.segment]
        seen = self.transform.extend(audio)[begin : begin + self.span]
        if chance < self.gain_share:
            gain = 10 ** ((self.gain_db[0] + level * (self.gain_db[1] - self.gain_db[0])) / 20)
            gain = min(gain, max(1.0, 1 / max(float(seen.abs().max()), 1e-9)))
            segment, seen = segment * gain, seen * gain
        return segment, self.transform(seen, padded=True)

    def with_paired_mel(self, audio: Tensor, mel: Tensor, place: float) -> tuple[Tensor, Tensor]:
        """Cut audio `(T,)`, and a mel `(n_mels, F)` where the audio is."""
        last = self.last_begin(len(audio)) // self.hop
        begin = int(place * (min(last, mel.shape[-1] - self.n_frames) + 1))
        mel = mel[:, begin : begin + self.n_frames]
        return audio[begin * self.hop : begin * self.hop + self.segment], mel
