"""All figures of a synthesis against its reference: of one pair, of a folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.metrics import alignment, mcd, perceptual, pitch, spectral
from waveflow.metrics.errors import UndefinedMetric
from waveflow.metrics.summary import Summary, summarize

ALIGNMENT_SECONDS = 0.5


class Scores(dict[str, float]):
    """Figures of one pair by name, NaN where a figure does not exist.

    Attributes:
        notes: For each NaN the reason, and a warning where level, offset or band is out of the ordinary.
    """

    def __init__(self, figures: Mapping[str, float] | None = None, notes: Mapping[str, str] | None = None) -> None:
        super().__init__(figures or {})
        self.notes = dict(notes or {})


class Clip(NamedTuple):
    """A reference and its synthesis, shape `(T,)` each, with figures and notes known already."""

    reference: Tensor
    synthesis: Tensor
    sample_rate: int
    figures: Mapping[str, float] = {}
    notes: Mapping[str, str] = {}


@dataclass
class Evaluation:
    """Figures of many clips.

    Attributes:
        clips: By name of the clip.
        failures: What could not be compared, and why.
    """

    clips: dict[str, Scores] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Summary]:
        """Mean and 95 % bootstrap interval of every figure."""
        return summarize(list(self.clips.values()))

    def difference(self, other: Evaluation) -> dict[str, Summary]:
        """Mean and interval of every figure less the other's, over the clips that have it in both.

        Clips differ more than systems do, so this interval tells two systems apart where their own overlap.
        """
        pairs = [(clip, other.clips[name]) for name, clip in self.clips.items() if name in other.clips]
        return summarize([{name: x[name] - y[name] for name in x if name in y} for x, y in pairs])

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; a figure that does not exist is None."""
        return {
            "summary": summaries_to_dict(self.summary()),
            "clips": {name: _finite(scores) for name, scores in self.clips.items()},
            "notes": {name: scores.notes for name, scores in self.clips.items() if scores.notes},
            "failures": self.failures,
        }


def evaluation_mel(sample_rate: int) -> MelConfig:
    """The mel in which figures are taken: NVIDIA's convention, bands up to 8 kHz, at any rate.

    FFT, window and hop double with each doubling of the rate, so as to last about as long as at 22 050 Hz.
    """
    scale = 2.0 ** round(math.log2(sample_rate / 22050))
    return MelConfig.preset(
        "nvidia",
        sample_rate=sample_rate,
        n_fft=int(1024 * scale),
        win_length=int(1024 * scale),
        hop_length=int(256 * scale),
        f_max=min(8000.0, sample_rate / 2),
    )


def evaluate_pair(
    reference: Tensor | np.ndarray,
    synthesis: Tensor | np.ndarray,
    sample_rate: int,
    *,
    metrics: Collection[str] | None = None,
    mel: MelConfig | None = None,
) -> Scores:
    """Compare a synthesis with its reference.

    The longer one is trimmed at its end. Level and offset are measured, not corrected: a vocoder owes both.

    Args:
        reference: Full scale ±1, shape `(T,)`.
        synthesis: Shape `(T',)`, at most 0.25 s longer or shorter.
        sample_rate: Of both, Hz.
        metrics: Names out of `METRICS`; None is all, those whose package is missing being NaN with a note.
        mel: For `log_mel_l1` and `mcd`, in natural logarithm; None is `evaluation_mel(sample_rate)`.

    Returns:
        The figures by name, with `notes`.

    Raises:
        ValueError: Against what `alignment.trim_pair` expects, or an unknown metric.
        ImportError: A metric asked for by name needs a package that is not installed.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; valid: {', '.join(METRICS)}")
    x, y = alignment.trim_pair(reference, synthesis, sample_rate)
    pair = _Pair(x, y, sample_rate, mel or evaluation_mel(sample_rate))
    scores = Scores()
    for name in METRICS if metrics is None else metrics:
        try:
            scores[name] = float(METRICS[name](pair))
        except UndefinedMetric as reason:
            scores[name], scores.notes[name] = math.nan, str(reason)
        except ImportError as reason:
            if metrics is not None:
                raise
            scores[name], scores.notes[name] = math.nan, str(reason)
    scores.notes.update(alignment.warnings(scores))
    if sample_rate < perceptual.PESQ_RATE and math.isfinite(scores.get("pesq", math.nan)):
        scores.notes["pesq"] = f"wide-band PESQ expects 16000 Hz; compare that of {sample_rate} Hz with its like only"
    return scores


def evaluate_clips(
    clips: Mapping[str, Callable[[], Clip]],
    *,
    metrics: Collection[str] | None = None,
    on_clip: Callable[[str, Clip | None], None] | None = None,
) -> Evaluation:
    """Compare clips one by one; one that cannot be read or compared is set aside with its reason.

    Args:
        clips: By name, what makes the pair (reads it, or synthesises).
        metrics: As in `evaluate_pair`.
        on_clip: Called after each clip with its name and the trimmed pair, or None where it failed.
    """
    evaluation = Evaluation()
    for name, make in clips.items():
        clip = None
        try:
            made = make()
            x, y = alignment.trim_pair(*made[:3])
            scores = evaluate_pair(x, y, made.sample_rate, metrics=metrics)
            clip = made._replace(reference=x, synthesis=y)
            evaluation.clips[name] = Scores({**scores, **clip.figures}, {**scores.notes, **clip.notes})
        except (ValueError, OSError, RuntimeError) as error:
            evaluation.failures[name] = str(error)
        if on_clip is not None:
            on_clip(name, clip)
    return evaluation


@dataclass(frozen=True)
class _Pair:
    """What several metrics share, computed once."""

    reference: Tensor
    synthesis: Tensor
    sample_rate: int
    mel: MelConfig

    @cached_property
    def pitch(self) -> tuple[pitch.Pitch, pitch.Pitch]:
        rate = self.sample_rate
        return pitch.track_pitch(self.reference, rate), pitch.track_pitch(self.synthesis, rate)

    @cached_property
    def mels(self) -> tuple[Tensor, Tensor]:
        transform = MelSpectrogram(self.mel)
        return transform(self.reference), transform(self.synthesis)

    def mcd(self) -> float:
        radius = round(ALIGNMENT_SECONDS * self.sample_rate / self.mel.hop_length)
        return mcd.mel_cepstral_distortion(*(mcd.mel_cepstrum(mel) for mel in self.mels), radius=radius)


METRICS: dict[str, Callable[[_Pair], Any]] = {
    "mr_stft": lambda pair: spectral.multi_resolution_stft(pair.reference, pair.synthesis),
    "log_mel_l1": lambda pair: (pair.mels[0] - pair.mels[1]).abs().mean(),
    "mcd": _Pair.mcd,
    "f0_rmse_cents": lambda pair: pitch.f0_rmse_cents(*pair.pitch),
    "f0_rmse_hz": lambda pair: pitch.f0_rmse_hz(*pair.pitch),
    "vuv_f1": lambda pair: pitch.vuv_f1(*pair.pitch),
    "periodicity_rmse": lambda pair: pitch.periodicity_rmse(*pair.pitch),
    "pesq": lambda pair: perceptual.pesq(pair.reference, pair.synthesis, pair.sample_rate),
    "stoi": lambda pair: perceptual.stoi(pair.reference, pair.synthesis, pair.sample_rate),
    "gain_db": lambda pair: alignment.gain_db(pair.reference, pair.synthesis),
    "offset_ms": lambda pair: alignment.offset_ms(pair.reference, pair.synthesis, pair.sample_rate),
}


def summaries_to_dict(summaries: Mapping[str, Summary]) -> dict[str, dict[str, float | None]]:
    """Summaries by name, ready for JSON; a mean or an end that does not exist is None."""
    return {name: _finite(asdict(summary)) for name, summary in summaries.items()}


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
