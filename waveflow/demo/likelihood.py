"""Where in a recording its log-likelihood lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from waveflow.bijections import AffineCoupling, Chain, ConditionalScale, EarlyOutputs
from waveflow.bijections.base import Bijection
from waveflow.inference import Vocoder
from waveflow.inference.noise import dequantized
from waveflow.nn.context import Context


@torch.no_grad()
def nats_over_time(vocoder: Vocoder, audio: Tensor) -> Tensor:
    """Split `vocoder.log_prob(audio)` among the mel frames.

        nats_f = sum over the flow's vectors l of frame f of
                 [ sum_c (-z_cl^2 / 2 - log(2 pi) / 2) + sum over steps of log |dz / dx| at l ]

    so that the sum over frames is the log-likelihood, exactly. What couplings and gains scale is counted where it is
    scaled; a log-determinant that is the same everywhere, as that of 1x1 convolutions, falls to all vectors alike, and
    so does that of steps of any other kind. A frame of LapGlow's is a block of its lapped transform, which reaches
    half a frame into either neighbour.

    Args:
        vocoder: The vocoder.
        audio: `(T,)`, at least one frame long, dequantized as `log_prob` does.

    Returns:
        Nats, `(T // hop_length,)`.
    """
    model, hop = vocoder.model, vocoder.config.mel.hop_length
    n_frames = len(audio) // hop
    audio = audio.to(vocoder.device)[None, : n_frames * hop]
    x = dequantized(audio)
    told = model.told(x, vocoder.mel(audio))
    z, nats = _through(model.flow, x, told)
    latent = model.to_samples(z, told).view(n_frames, hop)
    prior = -0.5 * (latent.square() + math.log(2 * math.pi)).sum(1)
    if len(nats) == 1:
        nats = (nats / n_frames).expand(n_frames)
    return prior + nats.view(n_frames, -1).sum(1)


def _through(step: Bijection, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Data to latent, and the log-determinant of each vector, `(L,)`."""
    if isinstance(step, EarlyOutputs):
        left, nats = [], x.new_zeros(x.shape[-1])
        for n, inner in zip(step.early, step.steps):
            left.append(x[:, :n])
            x, more = _through(inner, x[:, n:], context)
            nats = nats + more
        return torch.cat([*left, x], dim=1), nats
    if isinstance(step, Chain):
        # The squeeze comes first, and makes the vectors that are counted.
        nats = x.new_zeros(1)
        for inner in step.steps:
            x, more = _through(inner, x, context)
            nats = nats + more
        return x, nats
    if isinstance(step, AffineCoupling):
        a, b = step.split(x)
        b, log_s = step.transform(b, step.conditioner(a, context))
        return step.merge(a, b), log_s[0].sum(0)
    if isinstance(step, ConditionalScale):
        log_s = step.log_scale(x, context)
        return torch.exp(log_s) * x, log_s[0].sum(0)
    z, log_det = step(x, context)
    if not log_det.any():
        return z, z.new_zeros(1)
    return z, (log_det / z.shape[-1]).expand(z.shape[-1])
