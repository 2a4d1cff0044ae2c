"""The mels of other packages, as contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from waveflow.audio.mel_config import MelConfig


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


def nemo(preprocessor: Mapping[str, Any]) -> MelConfig:
    """The contract of NeMo's `preprocessor` section of a TTS config.

    Raises:
        ValueError: It normalises each recording by itself, emphasises high frequencies, or asks for no log.
    """
    if preprocessor.get("preemph"):
        raise ValueError(f"preemph={preprocessor['preemph']!r}: expected none, for it cannot be undone in a mel")
    if preprocessor.get("normalize") or not preprocessor.get("log", True):
        raise ValueError(
            f"normalize={preprocessor.get('normalize')!r} and log={preprocessor.get('log', True)!r}: a mel normalised "
            "by its own recording, or without logarithm, is no vocoder's; expected normalize=None and log=True"
        )
    rate = preprocessor.get("sample_rate", 22050)
    n_fft = preprocessor.get("n_fft", 1024)
    power = float(preprocessor.get("mag_power", 1.0))
    return MelConfig.preset(
        "nemo",
        sample_rate=rate,
        n_fft=n_fft,
        win_length=preprocessor.get("n_window_size", n_fft),
        hop_length=preprocessor.get("n_window_stride", 256),
        n_mels=preprocessor.get("features", 80),
        f_min=float(preprocessor.get("lowfreq", 0)),
        f_max=preprocessor.get("highfreq"),
        power=power,
        clip=float(preprocessor.get("log_zero_guard_value", 1e-5)),
        clip_style=preprocessor.get("log_zero_guard_type", "clamp"),
        pad_to=max(1, preprocessor.get("pad_to", 16)),
        pad_value=preprocessor.get("pad_value", -11.52),
    )


def coqui(audio: Mapping[str, Any]) -> MelConfig:
    """The contract of the `audio` section of a Coqui TTS config.

        S = spec_gain log(max(m, 1e-5)) - ref_level_db,   mel = 2 M (S - min_level_db) / -min_level_db - M

    with M = max_norm, the last step only under signal_norm; without symmetric_norm, from 0 to M. Under clip_norm what
    lies beyond is clipped.

    Raises:
        ValueError: Something that is no function of the mel alone: pre-emphasis, a statistics file, another gain.
    """
    if audio.get("preemphasis") or audio.get("stats_path"):
        raise ValueError(
            f"preemphasis={audio.get('preemphasis')!r} and stats_path={audio.get('stats_path')!r}: expected neither; "
            "undo the statistics with the model's own denormalize, and pre-emphasis cannot be undone in a mel"
        )
    kind = str(audio.get("log_func", "np.log10")).rsplit(".", 1)[-1]
    gain = float(audio.get("spec_gain", 20))
    logs = {("log10", 20.0): "db", ("log10", 1.0): "log10", ("log", 1.0): "ln"}
    if (kind, gain) not in logs:
        raise ValueError(f"log_func={kind!r} with spec_gain={gain:g} is no known logarithm, expected one of {[*logs]}")
    reference, lowest = float(audio.get("ref_level_db", 20)), float(audio.get("min_level_db", -100))
    mean, std, ceiling, clip = reference, 1.0, None, 1e-5
    if audio.get("signal_norm", True):
        top = float(audio.get("max_norm", 4.0))
        if audio.get("clip_norm", True):
            if logs[kind, gain] != "db":
                raise ValueError(
                    f"signal_norm with clip_norm and log_func={kind!r}: expected levels in dB, spec_gain=20"
                )
            ceiling, clip = top, max(clip, 10 ** ((reference + lowest) / 20))
        symmetric = audio.get("symmetric_norm", True)
        std = -lowest / (2 * top if symmetric else top)
        mean = reference + lowest + (top * std if symmetric else 0.0)
    n_fft = audio.get("fft_size", 1024)
    return MelConfig(
        sample_rate=audio.get("sample_rate", 22050),
        n_fft=n_fft,
        win_length=audio.get("win_length", n_fft),
        hop_length=audio.get("hop_length", 256),
        n_mels=audio.get("num_mels", 80),
        f_min=float(audio.get("mel_fmin", 0.0)),
        f_max=audio.get("mel_fmax"),
        log=logs[kind, gain],
        clip=clip,
        mean=[mean],
        std=[std],
        ceiling=ceiling,
    )
