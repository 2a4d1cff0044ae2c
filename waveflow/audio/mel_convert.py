"""From one mel convention to another, where no audio is needed for it."""

from __future__ import annotations

import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.audio.mel_config import MelConfig

_MUST_AGREE = {
    "sample_rate": "another sample rate",
    "n_fft": "another FFT",
    "win_length": "another window",
    "hop_length": "another frame rate",
    "n_mels": "another number of bands",
    "f_min": "another filterbank",
    "f_max": "another filterbank",
    "mel_scale": "another filterbank",
    "power": "sums of powers instead of magnitudes, or the reverse",
}


def obstacles(source: MelConfig, target: MelConfig) -> list[str]:
    """Why mels of one convention cannot become those of the other without the audio; empty where they can."""
    found = []
    for name, reason in _MUST_AGREE.items():
        given, expected = getattr(source, name), getattr(target, name)
        if name == "f_max":
            given, expected = given or source.sample_rate / 2, expected or target.sample_rate / 2
        if given != expected:
            found.append(f"{name} is {given}, the target has {expected}: {reason}")
    return found


def refuse_foreign(source: MelConfig, target: MelConfig) -> None:
    """Refuse a convention whose mels cannot be converted.

    Raises:
        ValueError: The conventions differ in what only the audio can tell.
    """
    if reasons := obstacles(source, target):
        raise ValueError(
            f"mel cannot be converted: {'; '.join(reasons)}; compute it from the audio, or use a vocoder trained for it"
        )


def convert_mel(mel: Tensor, source: MelConfig, target: MelConfig) -> Tensor:
    """Express a mel in another convention.

        m = decompress_source(mel),   m <- m * (area of the bands, where norms differ),   compress_target(m)

    Logarithm, floor, mean and standard deviation, the bands' norm and the frames' placement are converted. Frames
    centred half a hop later are made of the means of neighbours, an approximation; all else is exact above the higher
    of the floors. Window symmetry and `epsilon`, which hardly change a mel, are taken for equal.

    Args:
        mel: Under `source`, `(B, n_mels, F)` or `(n_mels, F)`.
        source: Its convention.
        target: The convention wanted.

    Returns:
        Under `target`; one frame more where frames become centred on hops ("same" to "center"), one less on the way
        back.

    Raises:
        ValueError: The conventions differ in what only the audio can tell, or the mel has another number of bands.
    """
    refuse_foreign(source, target)
    if mel.dim() not in (2, 3) or mel.shape[-2] != source.n_mels:
        raise ValueError(
            f"mel has shape {tuple(mel.shape)}, expected (B, n_mels, F) or (n_mels, F) with n_mels={source.n_mels}; "
            "transpose it if its frames come first"
        )
    if source == target:
        return mel
    given, wanted = (MelSpectrogram(config).to(mel.device) for config in (source, target))
    linear = given.decompress(mel.float())
    if source.norm != target.norm:
        linear = linear * (wanted.filterbank.amax(-1) / given.filterbank.amax(-1).clamp_min(1e-12))[:, None]
    converted = wanted.compress(linear)
    if source.padding == target.padding:
        return converted
    mean = (converted[..., 1:] + converted[..., :-1]) / 2
    if target.padding == "same":
        return mean
    return torch.cat([converted[..., :1], mean, converted[..., -1:]], dim=-1)
