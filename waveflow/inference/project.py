"""Move audio towards the mel it was made from: the mel is a contract that the output can be projected onto."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from waveflow.audio.mel import MelSpectrogram

MAX_GAIN = 10.0
MOMENTUM = 0.8


def project(
    audio: Tensor, mel: Tensor, transform: MelSpectrogram, rounds: int = 1, momentum: float = MOMENTUM
) -> Tensor:
    """Multiply each STFT bin by the interpolated ratio of the target mel to the audio's own, and transform back.

        S = STFT(x_n),   g_m = target_m / own_m,   gain_k = sum_m fb[m, k] g_m / sum_m fb[m, k]
        y_n = ISTFT(gain S),   x_{n+1} = y_n + momentum (y_n - y_{n-1})

    Bins outside the filterbank keep their value; gains stay within a factor of 10. Phases are the audio's own, so
    that a good synthesis gets better and noise does not become speech. The projections follow Griffin and Lim, the
    momentum Perraudin, Balazs and Sondergaard (A fast Griffin-Lim algorithm, 2013), here on waveforms.

    Args:
        audio: `(B, T)`.
        mel: Target under the transform's contract, `(B, n_mels, F)`; its last frame is held where F is short.
        transform: The mel transform.
        rounds: How often. Two bring most of what is nearly free, 16 what the mel knows.
        momentum: From the third round on; 0 is the plain alternation, which takes twice the rounds.

    Returns:
        `(B, T)`.
    """
    if rounds == 0:
        return audio
    config = transform.config
    weights = transform.filterbank.to(audio.dtype)
    coverage = weights.sum(0)
    weights = torch.where(coverage > 0, weights / coverage.clamp_min(1e-12), 0)
    outside = (coverage == 0).to(audio.dtype)[:, None]
    target = previous = None
    for _ in range(rounds):
        spectrum = transform.spectrum(audio)
        own = transform.filterbank.to(audio.dtype) @ transform.magnitude(spectrum)
        if target is None:
            n_frames = own.shape[-1]
            mel = functional.pad(mel, (0, max(0, n_frames - mel.shape[-1])), mode="replicate")[..., :n_frames]
            target = transform.decompress(mel).clamp_min(config.clip)
        gain = (target / own.clamp_min(config.clip)).pow(1 / config.power).clamp(1 / MAX_GAIN, MAX_GAIN)
        projected = transform.inverse_spectrum(spectrum * (weights.T @ gain + outside), audio.shape[-1])
        audio = projected if previous is None else projected + momentum * (projected - previous)
        previous = projected
    return projected
