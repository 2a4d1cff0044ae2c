"""The figures of training steps, and the guard that stops at the first that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from waveflow.training.config import n_chosen
from waveflow.training.errors import TrainingError
from waveflow.training.report import Reporter
from waveflow.training.run import Run
from waveflow.training.team import Team


class Meter:
    """Figures of the steps since the last report.

    The objective's sums stay on the device until then; the gradient's norm has been waited for, for it decides
    whether the step is taken.

    Args:
        run: Whose steps are measured.
        report: Told the figures.
        team: Over which the sums are.
        newest: Gives the newest checkpoint, if there is one.
    """

    def __init__(self, run: Run, report: Reporter, team: Team, newest: Callable[[], Path | None]) -> None:
        self.run, self.to, self.team, self.newest = run, report, team, newest
        self._restart()

    def _restart(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.team.device)
        self.n_samples = 0.0
        self.norms: list[float] = []

    def add(self, sums: Tensor, n_samples: float, norm: float) -> None:
        """Take in a step: the objective's sums over this process `(3,)`, samples of all, gradient's norm.

        The norm is that of the whole batch, so that all processes stop where it is not finite.

        Raises:
            TrainingError: It is not; names the step and the last good checkpoint.
        """
        if not math.isfinite(norm):
            good = self.newest()
            remedy = f"lower optimizer.lr (now {self.run.config.optimizer.lr:g}) or another train.seed"
            raise TrainingError(
                f"the gradient of step {self.run.step} is not finite, and training stopped; "
                + (f"the last good checkpoint is {good}: go on from it with a {remedy}" if good else f"try a {remedy}")
            )
        self.sums += sums
        self.n_samples += n_samples
        self.norms.append(norm)

    def report(self) -> None:
        """Report the means since the last time."""
        run, n_steps = self.run, len(self.norms)
        likelihood, distance, own = self.team.sum(*self.sums.tolist())
        figures = {"nats": likelihood / self.n_samples}
        if n := n_chosen(run.config):
            figures["spectral"] = distance / (n * n_steps)
            if run.objective.own:
                figures["own"] = own / (n * n_steps)
        figures["grad_norm"] = self.norms[-1]
        figures["lr"] = run.optimizer.param_groups[0]["lr"]
        figures["steps_per_s"] = rate = self.to.rate(run.step)
        figures["audio_s_per_s"] = rate * self.n_samples / n_steps / run.model.mel_config.sample_rate
        self.to.figures(run.step, "train", **figures)
        self._restart()
        self.to.restart_clock(run.step)
