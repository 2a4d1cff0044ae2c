"""The training loop: one process, or as many as torchrun starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch.nn.parallel import DistributedDataParallel

from waveflow.data.sampling import seed_of
from waveflow.training.batches import batches, segments
from waveflow.training.config import TrainConfig
from waveflow.training.gradients import add_gradients
from waveflow.training.interruption import Interruption
from waveflow.training.keeping import Keeper
from waveflow.training.meter import Meter
from waveflow.training.report import Reporter
from waveflow.training.run import Run, build_model, initialize
from waveflow.training.synced_norm import sync_norms
from waveflow.training.team import team_of
from waveflow.training.validation import held_out, validate


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: `finished`, `interrupted` (it can go on), or `no improvement` (early stopping).
        step: Optimizer steps done.
        bits: Held-out bits per sample at the best validation; infinite before the first.
        model: Directory of the native checkpoint; None where the run was interrupted.
    """

    reason: str
    step: int
    bits: float
    model: Path | None


def train(config: TrainConfig, console: Console | None = None) -> Outcome:
    """Train a model by likelihood, and where asked by spectral distance through the inverse.

        loss = -sum log p(audio | mel) / samples + (weight * sum distance + own_weight * sum own) / items

    over the batch of all processes; the sums are those of `Objective`.

    An unfinished run in `train.out` goes on exactly where its newest sound checkpoint stands: with the same batches
    and the same noise, as both are functions of the step. At the end the averaged weights are in `train.out/model`
    (with early stopping those of the best validation), and those of the best validation in `train.out/best`.

    Args:
        config: The run.
        console: Where to report; standard error unless given.

    Raises:
        ValueError: The settings, the corpus and the model do not fit each other.
        TrainingError: A gradient was not finite, a reading process hung, or the folder holds another run.
        CheckpointError: A checkpoint could not be written; those before it are intact.
    """
    config.validate()
    plan = config.train
    with team_of(plan.device) as team, Interruption() as interruption:
        model = build_model(config).to(team.device)
        dataset, clips = segments(config, model), held_out(config, model)
        initialize(model, dataset, config.data.batch_size)
        run = Run.start(config, model, team.device)
        keeper = Keeper(run, team)
        news = keeper.resume()
        keeper.note_settings()
        stream = batches(dataset, config, team, run.step)
        if team.size > 1:
            sync_norms(run.model)
        objective = DistributedDataParallel(run.objective) if team.size > 1 else run.objective
        folder = Path(plan.out) if team.leads else None
        with Reporter(folder, plan.steps, run.step, console) as report:
            report.say(*news)
            meter = Meter(run, report, team, keeper.newest)
            if plan.init and run.step == 0 and not run.first:
                # What the run starts from is a validation like any other, so that it never ends with a worse model.
                keeper.judge(validate(run, clips, report, team))
            while run.step < plan.steps and not run.is_stale:
                parts = next(stream)
                n_samples, interrupted = team.sum(sum(part.audio.numel() for part in parts), interruption.noted)
                if interrupted:
                    keeper.save()
                    report.say(f"interrupted after {run.step} of {plan.steps} steps; the same command goes on")
                    return Outcome("interrupted", run.step, run.best_bits, None)

                torch.manual_seed(seed_of(plan.seed, run.step, team.rank))
                sums = add_gradients(objective, parts, n_samples, config, team)
                meter.add(sums, n_samples, run.apply_gradients())

                done = run.step == plan.steps
                validates = run.step % plan.validate_every == 0 or done
                if run.step % plan.log_every == 0 or done:
                    meter.report()
                if validates:
                    keeper.judge(validate(run, clips, report, team))
                if validates or run.step % plan.save_every == 0:
                    keeper.save(run.figures["bits"] if validates else None)
                    report.restart_clock(run.step)
            reason = "no improvement" if run.is_stale else "finished"
            published = keeper.publish()
            report.say(f"{reason} after {run.step} steps, {run.best_bits:.4f} bits per sample at best: {published}")
            if plan.patience and run.first and run.best_loss == run.first["loss"]:
                report.say(f"no validation was better than that of {plan.init}, so these are its weights")
            return Outcome(reason, run.step, run.best_bits, published)
