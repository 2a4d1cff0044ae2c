"""What can be done with a vocoder that goes both ways and knows how likely audio is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from waveflow import Vocoder
from waveflow.losses import log_likelihood
from waveflow.metrics.pitch import track_pitch
from waveflow.models import MelContext
from waveflow.nn import Context

LEAST = 0.1
"""Share of a band that is left of it at least when noise is taken away."""


def nats(vocoder: Vocoder, audio: Tensor, mel: Tensor) -> float:
    """Log-density per sample of audio `(T,)` under a mel; without the noise of 16 bits, which synthesis has not."""
    return (vocoder.log_prob(audio, mel, dequantize=False) / len(audio)).item()


def mel_distance(vocoder: Vocoder, audio: Tensor, mel: Tensor) -> float:
    """Mean absolute difference of log-mels."""
    return (vocoder.mel(audio) - mel).abs().mean().item()


def median_pitch(audio: Tensor, sample_rate: int) -> float:
    """Hz, over the voiced frames; NaN where there is none."""
    f0 = track_pitch(audio.clamp(-1, 1), sample_rate).f0
    return float(np.nanmedian(f0)) if not np.isnan(f0).all() else math.nan


def describe_latent(vocoder: Vocoder, audio: Tensor, mel: Tensor) -> dict[str, float]:
    """What the latent of a recording looks like, and how exactly it gives the recording back."""
    z = vocoder.encode(audio, mel)
    centred = z - z.mean()
    return {
        "mean": z.mean().item(),
        "deviation": z.std().item(),
        "kurtosis": (centred.pow(4).mean() / centred.square().mean().square()).item(),
        "correlation": ((centred[1:] * centred[:-1]).mean() / centred.square().mean()).item(),
        "error": (vocoder.decode(z, mel) - audio).abs().max().item(),
        "nats": nats(vocoder, audio, mel),
    }


def between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """A latent on the arc between two: of their size, where a straight line would lead through smaller ones."""
    angle = share * math.pi / 2
    return math.cos(angle) * start + math.sin(angle) * end


def interpolate(vocoder: Vocoder, audio: Tensor, mel: Tensor, shares: Sequence[float], seed: int) -> list[dict]:
    """Go from a recording to another waveform of the same mel, through latents and by mixing samples.

    Returns:
        For each share of the way: log-density and distance from the mel of both.
    """
    start = vocoder.encode(audio, mel)
    end = start.std() * torch.randn(start.shape, generator=torch.Generator().manual_seed(seed))
    other = vocoder.decode(end, mel)
    rows = []
    for share in shares:
        latent = vocoder.decode(between(start, end, share), mel)
        mixed = torch.lerp(audio, other, share)
        row = {"share": share}
        for name, sound in (("latent", latent), ("mixed", mixed)):
            row[f"{name}_nats"] = nats(vocoder, sound, mel)
            row[f"{name}_distance"] = mel_distance(vocoder, sound, mel)
        rows.append(row)
    return rows


def retell(vocoder: Vocoder, z: Tensor, mel: Tensor) -> dict[str, float | Tensor]:
    """A latent under another mel: the audio, its pitch and how near it comes to that mel."""
    audio = vocoder.decode(z, mel)
    return {
        "audio": audio,
        "pitch": median_pitch(audio, vocoder.sample_rate),
        "distance": mel_distance(vocoder, audio, mel),
    }


def add_noise(audio: Tensor, snr_db: float, seed: int) -> tuple[Tensor, float]:
    """White noise so many decibels below the audio; also its standard deviation."""
    sigma = audio.square().mean().sqrt().item() * 10 ** (-snr_db / 20)
    return audio + sigma * torch.randn(audio.shape, generator=torch.Generator().manual_seed(seed)), sigma


def without_noise(vocoder: Vocoder, mel: Tensor, sigma: float, seed: int) -> Tensor:
    """What is left of a noisy mel when the power that white noise has in each band is taken away from it."""
    noise = sigma * torch.randn(10 * vocoder.sample_rate, generator=torch.Generator().manual_seed(seed))
    taken = vocoder.transform.decompress(vocoder.mel(noise)).square().mean(1, keepdim=True)
    noisy = vocoder.transform.decompress(mel)
    return vocoder.transform.compress((noisy.square() - taken).clamp_min((LEAST * noisy).square()).sqrt())


def denoise(vocoder: Vocoder, noisy: Tensor, mel: Tensor, sigma: float, steps: int = 0) -> Tensor:
    """The likeliest audio behind white noise of a known size, under the density of a LapGlow.

        x = argmin |y - x|^2 / (2 sigma^2) - log p(x | mel)

    Were the flow nothing but its first two steps, an orthonormal transform and a gain for each band that the mel
    decides, this would be a Wiener filter, `u_x = u_y / (1 + (gain * sigma)^2)` in the coefficients u after them. From
    there Adam goes on under the whole density, in the same coefficients: in the samples themselves a quiet band is a
    thousand times steeper than a loud one, and no gradient gets anywhere.

    Args:
        noisy: y, `(T,)`, T a multiple of hop_length.
        mel: Of what is looked for.
        sigma: Standard deviation of the noise.
        steps: Of Adam; without any, the filter.
    """
    model, y = vocoder.model, noisy[None]
    lapped, gain = model.flow.steps[:2]
    told = Context(model.features(mel[None])[..., : len(noisy) // model.n_group])
    with torch.no_grad():
        bands, _ = lapped(y)
        gains, _ = gain(torch.ones_like(bands), told)
        filtered = gains * bands / (1 + (gains * sigma).square())
    u = filtered.clone().requires_grad_()
    optimizer = torch.optim.Adam([u], 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        x = lapped.inverse(u / gains)
        loss = (y - x).square().sum() / (2 * sigma**2) - log_likelihood(*model(x, MelContext(mel[None]))).sum()
        loss.backward(inputs=[u])
        optimizer.step()
    return lapped.inverse(u.detach() / gains)[0]
