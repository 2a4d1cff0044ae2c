"""What a run leaves on disk, and how it finds it again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from waveflow.checkpoints import apply_adapter, load, read_adapter, save, save_adapter
from waveflow.checkpoints.native import read_facts
from waveflow.files import replacing
from waveflow.nn import low_rank
from waveflow.training.run import Run
from waveflow.training.state import Checkpoints
from waveflow.training.team import Team


class Keeper:
    """Writes and finds the files of a run: `checkpoints/`, `best/` and `model/` in `train.out`. Process 0 writes.

    A run of low-rank updates has `best.safetensors` instead of `best/`, and `adapter.safetensors` beside `model/`,
    which is the base with that adapter.
    """

    def __init__(self, run: Run, team: Team) -> None:
        self.run, self.team = run, team
        self.out = Path(run.config.train.out)
        self.checkpoints = Checkpoints(self.out / "checkpoints", run.config.train.keep)
        self.newest = self.checkpoints.newest

    def note_settings(self) -> None:
        """Write the settings as `config.yaml`, which is a recipe, and clear away what a killed run began to write."""
        if self.team.leads:
            from omegaconf import OmegaConf

            self.out.mkdir(parents=True, exist_ok=True)
            for name in ("best", "model"):
                for leftover in self.out.glob(f".{name}.*.partial"):
                    shutil.rmtree(leftover, ignore_errors=True)
            with replacing(self.out / "config.yaml") as file:
                file.write(OmegaConf.to_yaml(self.run.config.to_dict()).encode())

    def resume(self) -> list[str]:
        """Go on from the newest sound checkpoint that process 0 finds, if there is one; what there is to tell of it."""
        news: list[str] = []
        found = self.checkpoints.load(news.append) if self.team.leads else None
        path = self.team.tell(found[0] if found else None)
        if path is None:
            return news
        changes = self.run.restore(found[1] if found else self.checkpoints.read(path))
        return [*news, f"going on from {path}", *(f"changed since: {change}" for change in changes)]

    def save(self, bits: float | None = None) -> None:
        """Write a checkpoint; `bits` are the held-out bits per sample of this state, where they were measured."""
        newest = self.newest()
        is_there = newest is not None and newest == self.checkpoints.path(self.run.step)
        if self.team.leads and not is_there:
            self.checkpoints.save(self.run.state(), self.run.step, bits)

    def judge(self, figures: dict[str, float]) -> None:
        """Take note of a validation, and keep the averaged weights where it is the best so far."""
        if not self.run.judge(figures) or not self.team.leads:
            return
        if self.run.base:
            self._save_adapter(self.out / "best.safetensors")
        else:
            save(self.run.average.model, self.out / "best", metadata=self._history())

    def publish(self) -> Path:
        """Write the model that the run was for: the averaged weights; with early stopping, of the best validation."""
        stops_early = self.run.config.train.patience
        if self.team.leads and self.run.base:
            self._publish_adapter(stops_early > 0)
        elif self.team.leads and stops_early:
            best = self.out / "best"
            save(load(best), self.out / "model", metadata=read_facts(best)["metadata"])
        elif self.team.leads:
            save(self.run.average.model, self.out / "model", metadata=self._history())
        return self.out / "model"

    def _publish_adapter(self, of_the_best: bool) -> None:
        adapter = self.out / "adapter.safetensors"
        if of_the_best:
            with replacing(adapter) as file:
                file.write((self.out / "best.safetensors").read_bytes())
        else:
            self._save_adapter(adapter)
        model = load(self._base())
        apply_adapter(model, adapter)
        low_rank.merge(model)
        save(model, self.out / "model", metadata=read_adapter(adapter)[1]["metadata"])

    def _save_adapter(self, path: Path) -> None:
        run = self.run
        tensors = low_rank.updates(run.average.model)
        name = Path(self._base()).name
        save_adapter(path, tensors, run.base, base_name=name, metadata=self._history())

    def _base(self) -> str:
        init = self.run.config.train.init
        assert init is not None, "an adapter needs the model below it"
        return init

    def _history(self) -> dict[str, Any]:
        run, settings = self.run, self.run.config.to_dict()
        kept = {name: settings[name] for name in ("optimizer", "schedule", "objective")}
        return {"training": {"steps": run.step, "seed": run.config.train.seed, "held_out": run.figures, **kept}}
