"""Which convention a mel follows, told from its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from waveflow.audio.mel_check import (
    ENOUGH_FRAMES,
    HEADROOM,
    SPEECH_LEVEL,
    SPEECH_SPREAD,
    check_mel,
    full_scale_of,
    nepers,
)
from waveflow.audio.mel_config import LOG_SCALE, MelConfig
from waveflow.audio.mel_convert import obstacles

BANDS = (80, 100, 128, 64, 40)
# Log-odds: a smallest value that is a convention's floor to four digits, and values that a convention cannot have.
FLOOR_FOUND, IMPOSSIBLE = 6.0, -12.0
# What no speech is, three deviations off in spread and level, counts for nothing against any candidate.
NOTHING = -4.5
# How far what an acoustic model predicts goes beyond floor and ceiling, as a part of the way from one to the other.
OVERSHOOT = 0.1
# What values tell of a contract, beside the number of bands.
TOLD = ("log", "mean", "std", "ceiling")
CONVERT = "waveflow.audio.mel_convert.convert_mel"


@dataclass(frozen=True)
class Diagnosis:
    """What a mel seems to be.

    Attributes:
        convention: A preset's name or a description; `unknown` where nothing fits.
        config: The contract of that convention, of which the values tell the logarithm, the scale and the number of
            bands alone; None where it is unknown, or statistics would be needed.
        confidence: 0 to 1, among the conventions tried and against none of them.
        transposed: Frames come before bands.
        findings: What was seen, a sentence each.
        remedy: What it takes to give the mel to the target.
    """

    convention: str
    config: MelConfig | None
    confidence: float
    transposed: bool
    findings: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        sure = f"{self.convention}, {100 * self.confidence:.0f} % sure"
        return "; ".join([sure, *self.findings, self.remedy])


def diagnose(mel: Tensor, target: MelConfig | None = None, n_samples: int | None = None) -> Diagnosis:
    """Tell which convention a mel of speech follows, and what converting it takes.

    Levels of speech are compared with what each convention makes of them: the spread along time, the median level
    under full scale, the floor, and the range.

    Args:
        mel: `(n_mels, F)` or `(F, n_mels)`, some seconds of speech.
        target: The contract wanted; NVIDIA's unless given.
        n_samples: Length of the audio it was computed of, which tells where its frames lie.

    Raises:
        ValueError: No two-dimensional floating-point tensor, or values that are not finite.
    """
    target = target or MelConfig()
    if mel.dim() != 2 or not mel.is_floating_point() or not mel.numel() or not mel.isfinite().all():
        raise ValueError(
            f"mel is {mel.dtype} of shape {tuple(mel.shape)}, expected finite floating-point values (n_mels, F); "
            "give one item, without NaN"
        )
    known = {*BANDS, target.n_mels}
    transposed = mel.shape[0] not in known and mel.shape[1] in known
    mel = mel.T if transposed else mel
    findings = [f"{mel.shape[0]} bands, {mel.shape[1]} frames{', transposed' if transposed else ''}"]
    candidates = _candidates(mel.shape[0], float(mel.min()), target)
    scores = {name: _score(mel, config) for name, config in candidates.items()}
    if len(target.mean or []) < 2:  # else it is the vocoder's own
        scores["normalised by band statistics"] = _normalised(mel)
    total = sum(math.exp(score) for score in scores.values()) + math.exp(NOTHING)
    name = max(scores, key=lambda key: scores[key])
    confidence = math.exp(scores[name]) / total
    config = candidates.get(name)
    if scores[name] < NOTHING:
        name, config, confidence = "unknown", None, math.exp(NOTHING) / total
    findings.append(f"values from {float(mel.min()):.4g} to {float(mel.max()):.4g}")
    remedy = _remedy(name, config, target)
    if n_samples is not None and config is not None:
        placement, shift = _placement(mel.shape[1], n_samples, target)
        findings.append(placement)
        remedy += shift if config.n_mels == target.n_mels else ""
    remedy = ("transpose it; then " if transposed else "") + remedy
    return Diagnosis(name, config, round(confidence, 3), transposed, tuple(findings), remedy)


def check_and_diagnose(mel: Tensor, config: MelConfig) -> None:
    """Refuse a mel as `check_mel` does, and say which convention it seems to follow.

    Raises:
        ValueError: The mel does not follow the contract.
    """
    try:
        check_mel(mel, config)
    except ValueError as error:
        # Too little of it, or what is no mel at all, has no convention.
        if mel.numel() < ENOUGH_FRAMES * config.n_mels:
            raise
        try:
            found = diagnose(mel, config)
        except ValueError:
            raise error from None
        raise ValueError(f"{error}. It looks like: {found}") from None


def _candidates(n_mels: int, lowest: float, target: MelConfig) -> dict[str, MelConfig]:
    found = _known(n_mels, lowest)
    if target.n_mels == n_mels and not any(_same_values(config, target) for config in found.values()):
        found["the vocoder's own"] = target
    return found


def _known(n_mels: int, lowest: float) -> dict[str, MelConfig]:
    if n_mels == 100:
        return {"vocos": MelConfig.preset("vocos"), "bigvgan_24khz": MelConfig.preset("bigvgan_24khz")}
    if n_mels == 128:
        return {"bigvgan_44khz": MelConfig.preset("bigvgan_44khz")}
    found = {
        "ln, as nvidia and hifigan": MelConfig(n_mels=n_mels),
        "log10, as parallelwavegan and espnet": MelConfig.preset("espnet", n_mels=n_mels),
        "dB": MelConfig(n_mels=n_mels, log="db"),
        "dB scaled to -4..4, as Coqui": MelConfig(
            n_mels=n_mels, log="db", clip=1e-4, mean=[-30.0], std=[12.5], ceiling=4.0
        ),
    }
    ln = found["ln, as nvidia and hifigan"]
    if lowest < ln.floor - _slack(ln):
        found["ln, clipped lower than nvidia's"] = MelConfig(n_mels=n_mels, clip=1e-10)
    return found | ({"flowavenet": MelConfig.preset("flowavenet")} if n_mels == 80 else {})


def _same_values(config: MelConfig, target: MelConfig) -> bool:
    return all(getattr(config, name) == getattr(target, name) for name in TOLD)


def _slack(config: MelConfig) -> float:
    """How far beyond floor and ceiling a prediction may be, in mel values."""
    loudest = config.normalized(full_scale_of(config)[1] * config.power * LOG_SCALE[config.log])
    return OVERSHOOT * (max(loudest) - config.floor)


def _score(mel: Tensor, config: MelConfig) -> float:
    """Log-likelihood, to a constant, of speech under a convention."""
    full_scale, loudest = full_scale_of(config)
    levels = nepers(mel, config)
    spread = float((levels - levels.mean(-1, keepdim=True)).std())
    median = float(levels.median()) - full_scale
    score = -0.5 * (_off(spread, SPEECH_SPREAD) ** 2 + _off(median, SPEECH_LEVEL) ** 2)
    lowest, highest = float(mel.min()), float(mel.max())
    if config.clip_style == "clamp" and math.isclose(lowest, config.floor, rel_tol=1e-4, abs_tol=1e-4):
        score += FLOOR_FOUND
    slack = _slack(config)
    beyond = config.ceiling is not None and highest > config.ceiling + slack
    if lowest < config.floor - slack or beyond or float(levels.max()) > loudest + HEADROOM:
        score += IMPOSSIBLE
    return score


def _off(value: float, limits: tuple[float, float]) -> float:
    # Recorded speech lies between the limits: two deviations on either side.
    low, high = limits
    return (value - (low + high) / 2) / ((high - low) / 4)


def _normalised(mel: Tensor) -> float:
    """Log-likelihood of values that statistics of a corpus were taken out of: about 0 and 1 in every band."""
    mean, std = mel.mean(-1), mel.std(-1, correction=0)
    if not std.any():
        return IMPOSSIBLE
    even = float((std / std.mean() - 1).abs().mean())
    return -0.5 * ((float(mean.abs().mean()) / 0.4) ** 2 + ((float(std.mean()) - 1) / 0.2) ** 2 + (even / 0.2) ** 2)


def _placement(n_frames: int, n_samples: int, target: MelConfig) -> tuple[str, str]:
    """Where frames lie by their number, and what of it the remedy has to add."""
    whole = n_samples // target.hop_length
    if n_frames == whole + 1:
        shifted = target.padding == "same"
        return (
            "one frame more than whole hops: frames are centred on hops, as nvidia's",
            f"; move its frames by half a hop: {CONVERT} from padding='center'" if shifted else "",
        )
    if n_frames == whole:
        shifted = target.padding == "center"
        return (
            "as many frames as whole hops: centred half a hop later, as hifigan's, or the last one was dropped",
            f"; if they are HiFi-GAN's, move the frames by half a hop: {CONVERT} from padding='same'"
            if shifted
            else "",
        )
    return (
        f"{n_frames} frames for {whole} whole hops of {target.hop_length}: another hop, or audio cut to other lengths",
        "; another hop cannot be converted: recompute it from the audio with `waveflow mel`",
    )


def _remedy(name: str, config: MelConfig | None, target: MelConfig) -> str:
    recompute = "recompute it from the audio with `waveflow mel`"
    if name == "unknown":
        return f"it is like no known convention; {recompute}"
    if config is None:
        return "multiply by the corpus's std and add its mean, or give both to MelConfig, then diagnose again"
    reasons = "; ".join(obstacles(config, target))
    if config.n_mels != target.n_mels:
        return f"it cannot be converted: {reasons}; {recompute}"
    same = _same_values(config, target) and config.floor >= target.floor
    found = "its values are what the vocoder expects" if same else f"convert it with {CONVERT}"
    if not reasons:
        return found
    return (
        f"if its filterbank and frames are of that convention too, it cannot be converted ({reasons}): {recompute}; "
        f"if they are the vocoder's, {found}"
    )
