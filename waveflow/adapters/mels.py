"""The mels of other packages, as contracts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from waveflow.audio.mel_config import LOG_SCALE, MelConfig


def speecht5() -> MelConfig:
    """What Hugging Face's SpeechT5 emits: log10, 80 to 7600 Hz at 16 kHz."""
    return MelConfig(sample_rate=16000, f_min=80.0, f_max=7600.0, log="log10", clip=1e-10)


def espnet(*, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **changes: Any) -> MelConfig:
    """ESPnet's log10 mels.

    Args:
        mean: Of `feats_stats.npz`, one value a band, where the acoustic model's output is normalised.
        std: Likewise.
        changes: Settings of the recipe that differ from 22.05 kHz, hop 256, 80 to 7600 Hz.
    """
    statistics = {"mean": None if mean is None else [*mean], "std": None if std is None else [*std]}
    return MelConfig.preset("espnet", **statistics, **changes)


def coqui(
    audio: Mapping[str, Any], *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> MelConfig:
    """The contract of the `audio` section of a Coqui TTS config, as its `AudioProcessor` computes it.

        S = spec_gain log(max(m, 1e-8)),   mel = 2 M (S - ref_level_db - min_level_db) / -min_level_db - M

    with M = max_norm, the last step only under signal_norm; without symmetric_norm, from 0 to M. Under clip_norm what
    lies beyond is clipped. What is done to recordings before, such as trimming, is no part of it.

    Args:
        audio: The section; settings left out are those of `BaseAudioConfig`.
        mean: `mel_mean` of the statistics file under `stats_path`, one value a band.
        std: Likewise `mel_std`.

    Raises:
        ValueError: Pre-emphasis, no logarithm, or a statistics file without its values.
    """
    if audio.get("preemphasis") or not audio.get("do_amp_to_db_mel", True):
        raise ValueError(
            f"preemphasis={audio.get('preemphasis', 0)!r} and do_amp_to_db_mel={audio.get('do_amp_to_db_mel', True)!r}"
            ": expected 0 and True, for pre-emphasis cannot be undone in a mel, and one without logarithm is no "
            "vocoder's"
        )
    normal = audio.get("signal_norm", True)
    if normal and bool(audio.get("stats_path")) != (mean is not None and std is not None):
        raise ValueError(
            f"stats_path={audio.get('stats_path')!r} with {'no ' if mean is None or std is None else ''}mean and std: "
            "expected both or neither; they are mel_mean and mel_std of that file"
        )
    kind = str(audio.get("log_func", "np.log10")).rsplit(".", 1)[-1]
    gain = float(audio.get("spec_gain", 20))
    if kind not in ("log", "log10") or gain <= 0:
        raise ValueError(f"log_func={kind!r} with spec_gain={gain:g}: expected np.log or np.log10, and a positive gain")
    log = "ln" if kind == "log" else "log10" if gain == 1 else "db"
    gain /= 20 if log == "db" else 1
    clip, ceiling, shift, scale = 1e-8, None, [0.0], [1.0]
    if normal and mean is not None and std is not None:
        shift, scale = [*mean], [*std]
    elif normal:
        top, lowest = float(audio.get("max_norm", 4.0)), float(audio.get("min_level_db", -100))
        base = float(audio.get("ref_level_db", 20)) + lowest
        symmetric = audio.get("symmetric_norm", True)
        scale = [-lowest / (2 * top if symmetric else top)]
        shift = [base + (top * scale[0] if symmetric else 0.0)]
        if audio.get("clip_norm", True):
            ceiling, clip = top, max(clip, math.exp(base / gain / LOG_SCALE[log]))
    window, hop = audio.get("win_length", 1024), audio.get("hop_length", 256)
    rate = audio.get("sample_rate", 22050)
    if hop is None:
        length, step = float(audio["frame_length_ms"]), float(audio["frame_shift_ms"])
        window = int(length / 1000 * rate)
        hop = int(window / (length / step))
    return MelConfig(
        sample_rate=rate,
        n_fft=audio.get("fft_size", 1024),
        win_length=window,
        hop_length=hop,
        n_mels=audio.get("num_mels", 80),
        f_min=float(audio.get("mel_fmin", 0.0)),
        f_max=audio.get("mel_fmax"),
        pad_mode=audio.get("stft_pad_mode", "reflect"),
        log=log,
        clip=clip,
        mean=[value / gain for value in shift],
        std=[value / gain for value in scale],
        ceiling=ceiling,
    )
