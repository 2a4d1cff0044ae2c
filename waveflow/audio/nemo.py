"""NeMo's mels: what the `preprocessor` section of its configs says, as a contract."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, overload

import torch

from waveflow.audio.mel_config import MelConfig

# Left out, these are NeMo's own.
_FIXED = {"preemph": 0.97, "normalize": "per_feature", "log": True, "window": "hann", "frame_splicing": 1}


def nemo(preprocessor: Mapping[str, Any], **changes: Any) -> MelConfig:
    """The contract of NeMo's `preprocessor` section, `AudioToMelSpectrogramPreprocessor` in evaluation.

    Settings left out are those of NeMo's class, which is made for recognition: 16 kHz, 64 bands of powers, pre-emphasis
    and normalisation, so give the section whole. Since 2.5 NeMo pads recordings with zeros and fills the last frame
    with `pad_value`; up to 2.4 it reflected them and counted that frame: `pad_mode="reflect"`. Here it is always
    computed.

    Args:
        preprocessor: The section; its settings may lie under `params`, and numbers may be text, as YAML 1.1 takes
            1e-05 for.
        changes: Settings of `MelConfig` that differ.

    Raises:
        ValueError: It normalises each recording by itself, emphasises high frequencies, asks for no log, or for
            something else that a mel contract has no word for; or a number is none.
    """
    section = preprocessor["params"] if isinstance(preprocessor.get("params"), Mapping) else preprocessor
    _refuse_what_cannot_be_undone(section)
    rate = _number(section, "sample_rate", 16000)
    window = _samples(section, "window_size", 0.02, rate)
    found = {
        "sample_rate": rate,
        "n_fft": _number(section, "n_fft") or 2 ** (window - 1).bit_length(),
        "win_length": window,
        "hop_length": _samples(section, "window_stride", 0.01, rate),
        "n_mels": _number(section, "features") or _number(section, "nfilt", 64),
        "f_min": _number(section, "lowfreq") or 0.0,
        "f_max": _number(section, "highfreq") or None,
        "norm": section.get("mel_norm", "slaney"),
        "power": _number(section, "mag_power", 2.0),
        "padding": "same" if section.get("exact_pad") else "center",
        "pad_mode": "constant",
        "clip": _guard(section),
        "clip_style": section.get("log_zero_guard_type", "add"),
        "pad_to": max(1, _number({"pad_to": 16, **section}, "pad_to") or 0),
        "pad_value": _number(section, "pad_value", 0.0),
    }
    return MelConfig.preset("nemo", **{**found, **changes})


def _refuse_what_cannot_be_undone(section: Mapping[str, Any]) -> None:
    given = _FIXED | {name: section[name] for name in _FIXED if name in section}
    if given["preemph"]:
        raise ValueError(
            f"preemph={given['preemph']!r}{_default(section, 'preemph')}: expected None, for it cannot be "
            "undone in a mel"
        )
    if given["normalize"] or not given["log"]:
        raise ValueError(
            f"normalize={given['normalize']!r}{_default(section, 'normalize')} and log={given['log']!r}: a mel "
            "normalised by its own recording, or without logarithm, is no vocoder's; expected None and True"
        )
    if given["window"] != "hann" or given["frame_splicing"] != 1 or section.get("pad_to") == "max":
        raise ValueError(
            f"window={given['window']!r}, frame_splicing={given['frame_splicing']!r} and "
            f"pad_to={section.get('pad_to')!r}: expected a Hann window, 1, and a number of frames"
        )


def _default(section: Mapping[str, Any], name: str) -> str:
    return "" if name in section else ", NeMo's own where the section leaves it out"


@overload
def _number(section: Mapping[str, Any], name: str, default: float) -> float: ...
@overload
def _number(section: Mapping[str, Any], name: str) -> float | None: ...
def _number(section: Mapping[str, Any], name: str, default: float | None = None) -> float | None:
    """A setting that is a number or a number's text; where there is no default, None and False mean none."""
    value = section.get(name, default)
    if default is None and (value is None or value is False):
        return None
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r}: expected a number")
    return number


def _samples(section: Mapping[str, Any], name: str, seconds: float, rate: float) -> int:
    """NeMo's window or stride: in samples under `n_<name>`, or in seconds; False means none."""
    if told := _number(section, f"n_{name}"):
        return int(told)
    return int((_number(section, name) or seconds) * rate)


def _guard(section: Mapping[str, Any]) -> float:
    """What the logarithm is kept from zero by: a number, or the name of one of float32's."""
    if (told := section.get("log_zero_guard_value")) in ("tiny", "eps"):
        return getattr(torch.finfo(torch.float32), told)
    return _number(section, "log_zero_guard_value", 2**-24)
