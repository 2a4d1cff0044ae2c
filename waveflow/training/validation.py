"""Held-out recordings: how likely the model finds them, and how it renders them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.data.dataset import Item, UtteranceDataset
from waveflow.losses import bits_per_sample, dequantize, log_likelihood
from waveflow.models import MelFlow
from waveflow.training.config import TrainConfig, n_chosen
from waveflow.training.errors import TrainingError
from waveflow.training.report import Rendering, Reporter
from waveflow.training.run import Run
from waveflow.training.team import Team


def held_out(config: TrainConfig, model: MelFlow) -> UtteranceDataset:
    """The recordings of the validation split that are scored."""
    return UtteranceDataset(
        config.data.manifest,
        "validation",
        model.mel_config,
        clips=config.train.validate_clips,
        seconds=None if config.data.mels else config.train.validate_seconds,
        multiple=model.n_group,
        mels=config.data.mels,
    )


def validate(run: Run, clips: UtteranceDataset, report: Reporter, team: Team) -> dict[str, float]:
    """Score held-out recordings with the averaged weights, and let process 0 render some of them.

    Returns:
        What `score` gives; on process 0 also `log_mel_l1` of the rendered ones.

    Raises:
        TrainingError: The likelihood is not finite.
    """
    model, transform = run.average.model, run.objective.spectral.mel
    figures = score(run, clips, team)
    if not math.isfinite(figures["bits"]):
        raise TrainingError(
            f"held-out recordings have no finite likelihood after {run.step} steps; go on from an earlier checkpoint "
            "with a lower optimizer.lr"
        )
    if team.leads and (n := min(run.config.train.listen, len(clips))):
        distances = []
        for index in range(n):
            rendering = render(model, transform, clips[index], run.objective.sigma, team)
            distances.append(float((rendering.synthesis_mel - rendering.reference_mel).abs().mean()))
            report.sound(run.step, rendering, run.model.mel_config.sample_rate)
        figures["log_mel_l1"] = sum(distances) / n
    report.figures(run.step, "held-out", **figures)
    return figures


@torch.no_grad()
def score(run: Run, clips: UtteranceDataset, team: Team) -> dict[str, float]:
    """Mean log-likelihood of recordings, and how far syntheses of their mels are from them, shared out over the team.

    Every sample weighs the same. The noise of a recording is the same at every call.

    Returns:
        `nats` and `bits` per sample; `spectral` distance, and `own` as in `Objective`, where the run trains by them;
        and `loss`, which is what the run minimises.
    """
    model, objective = run.average.model, run.config.objective
    sounds = n_chosen(run.config) > 0
    nats = distance = own = samples = 0.0
    for index in range(team.rank, len(clips), team.size):
        audio, mel = _fitting(model, clips[index], team)
        generator = torch.Generator().manual_seed(index)
        uniform = torch.rand(audio.shape, generator=generator).to(team.device)
        likelihood = float(log_likelihood(*model(dequantize(audio, uniform), mel)))
        nats += likelihood
        samples += audio.shape[1]
        if sounds:
            latent = run.objective.sigma * torch.randn(audio.shape, generator=generator)
            synthesis = model.inverse(latent.to(team.device), mel)
            distance += audio.shape[1] * float(run.objective.spectral(synthesis, audio))
            if run.objective.own:
                own_mel = run.objective.spectral.mel(synthesis)[..., : mel.shape[-1]]
                missing = likelihood - float(log_likelihood(*model(dequantize(synthesis, uniform), own_mel)))
                own += audio.shape[1] * math.log1p(max(0.0, missing / audio.shape[1]))
    nats, distance, own, samples = team.sum(nats, distance, own, samples)
    figures = {"nats": nats / samples, "bits": bits_per_sample(nats / samples)}
    if sounds:
        figures["spectral"] = distance / samples
        if run.objective.own:
            figures["own"] = own / samples
    weighted = objective.spectral_weight * figures.get("spectral", 0.0) + objective.own_weight * figures.get("own", 0.0)
    return {**figures, "loss": weighted - figures["nats"]}


@torch.no_grad()
def render(model: MelFlow, transform: MelSpectrogram, clip: Item, sigma: float, team: Team) -> Rendering:
    """Synthesise a recording from its mel, with the same noise at every call."""
    audio, mel = _fitting(model, clip, team)
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0)).to(team.device)
    synthesis = model.inverse(sigma * noise, mel).clamp(-1, 1)
    mels = [transform(sound)[0].cpu() for sound in (audio, synthesis)]
    return Rendering(clip.id, audio[0].cpu(), synthesis[0].cpu(), *mels)


def _fitting(model: MelFlow, clip: Item, team: Team) -> tuple[Tensor, Tensor]:
    """Audio `(1, T)` that the mel `(1, n_mels, F)` covers; a predicted mel may be a frame short."""
    length = min(len(clip.audio), clip.mel.shape[-1] * model.mel_config.hop_length)
    audio = clip.audio[: length // model.n_group * model.n_group]
    return audio[None].to(team.device), clip.mel[None].to(team.device)
