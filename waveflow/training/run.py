"""What a run is made of, and what of it a checkpoint holds."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from waveflow.bijections import ActNorm
from waveflow.checkpoints import fingerprint, load
from waveflow.models import MelContext, MelFlow, build, config_to_dict, model_name
from waveflow.nn import low_rank
from waveflow.training.config import TrainConfig
from waveflow.training.ema import WeightAverage
from waveflow.training.errors import TrainingError
from waveflow.training.gradients import is_usual
from waveflow.training.objective import Objective
from waveflow.training.optimizer import make_optimizer, refresh
from waveflow.training.passes import steps_for
from waveflow.training.reversible import make_reversible
from waveflow.training.schedule import rate_factor

if TYPE_CHECKING:
    from waveflow.data.dataset import ItemDataset

INITIAL_ITEMS = 64
"""Items whose statistics initialise ActNorm, at most; all processes take the same ones, the first of the run."""

JUDGED_BY = ("objective.", "train.validate_clips", "train.validate_seconds")
"""Settings without which losses on held-out recordings cannot be compared."""


@dataclass
class Run:
    """The moving parts of a training run.

    Attributes:
        config: What the run was told.
        model: The flow that trains.
        objective: What is minimised, around the same flow.
        average: The averaged weights.
        optimizer: Over the weights that train.
        step: Optimizer steps done.
        usual_norm: Running mean of the gradient's norm.
        best_loss: Least loss on held-out recordings so far.
        best_bits: Held-out bits per sample at that validation.
        stale: Validations since.
        figures: Of the last validation.
        first: Of the validation before the first step, where the run starts from a checkpoint.
        trained: Names of the weights that train.
        base: `fingerprint` of what low-rank updates are made for; empty without them.
    """

    config: TrainConfig
    model: MelFlow
    objective: Objective
    average: WeightAverage[MelFlow]
    optimizer: torch.optim.Optimizer
    step: int = 0
    usual_norm: float = 0.0
    best_loss: float = float("inf")
    best_bits: float = float("inf")
    stale: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    base: str = ""

    @classmethod
    def start(cls, config: TrainConfig, model: MelFlow, device: torch.device) -> Run:
        """A run at step 0, on a device.

        Raises:
            ValueError: No weight's name fits the patterns of `train.trainable`, or updates have no base.
        """
        rank, base = config.finetune.rank, ""
        if rank:
            base = fingerprint(model)
            torch.manual_seed(config.train.seed)
            low_rank.attach(model, rank, config.train.trainable, vectors=config.finetune.vectors)
            trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        else:
            trained = choose_trainable(model, config.train.trainable)
        steps = None
        if config.train.reversible:
            make_reversible(model)
        else:
            steps = steps_for(model, device, compiled=config.train.compile)
        if config.train.compile and steps is None:
            model.compile()
        objective = Objective(model, config.objective, steps).to(device).train()
        for module in model.modules():
            # Running statistics are no part of an update, so that with updates they stay those of the base.
            if rank and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        optimizer = make_optimizer(model, config.optimizer, fused=device.type == "cuda")
        average = WeightAverage(model, config.train.ema)
        return cls(config, model, objective, average, optimizer, trained=trained, base=base)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that train."""
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def apply_gradients(self) -> float:
        """Clip the gradient, take a step at the scheduled rate, average the weights; the norm before clipping."""
        config = self.config
        norm = float(nn.utils.clip_grad_norm_(self.parameters, config.optimizer.clip or float("inf")))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        watched = config.optimizer.unusual and self.step > config.schedule.warmup
        times = config.optimizer.unusual if watched else math.inf
        usual, self.usual_norm = is_usual(norm, self.usual_norm, self.step, times)
        if usual:
            self.optimizer.step()
            self.average.update(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return norm

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        config = self.config
        return config.optimizer.lr * rate_factor(self.step, config.train.steps, config.schedule)

    @property
    def is_stale(self) -> bool:
        """Whether `train.patience` has run out."""
        return 0 < self.config.train.patience <= self.stale

    def judge(self, figures: dict[str, float]) -> bool:
        """Take note of a validation; true where it is the best so far.

        The best has the least loss, and is at no price worse in likelihood or in sound than what the run starts from.
        """
        self.figures = figures
        if self.step == 0:
            self.first = figures
        less_likely = figures["nats"] < self.first.get("nats", -float("inf"))
        farther = figures.get("spectral", 0.0) > self.first.get("spectral", float("inf"))
        better = figures["loss"] < self.best_loss and not less_likely and not farther
        if better:
            self.best_loss, self.best_bits, self.stale = figures["loss"], figures["bits"], 0
        else:
            self.stale += 1
        return better

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on. Order of data and noise are functions of the step alone."""
        return {
            "config": self.config.to_dict(),
            "model_config": describe(self.model),
            "trained": self.trained,
            "rank": self.config.finetune.rank,
            "base": self.base,
            "step": self.step,
            "usual_norm": self.usual_norm,
            "best_loss": self.best_loss,
            "best_bits": self.best_bits,
            "stale": self.stale,
            "figures": self.figures,
            "first": self.first,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "n_updates": self.average.n_updates,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> list[str]:
        """Go on from a state.

        Returns:
            Settings that are not what they were, as `name: old -> new`; the run goes on with the new ones.

        Raises:
            TrainingError: The state is of another model, of other weights that train, or of another optimizer.
        """
        facts = {
            "model_config": describe(self.model),
            "trained": self.trained,
            "rank": self.config.finetune.rank,
            "base": self.base,
        }
        for name, now in facts.items():
            if state.get(name, 0 if name == "rank" else "") != now:
                raise TrainingError(
                    f"{self.config.train.out} holds a run of another model or other trained weights "
                    f"({_difference(name, state.get(name), now)}); go on with its settings, or choose another train.out"
                )
        was, now = state["config"]["optimizer"]["name"], self.config.optimizer.name
        if was != now:
            raise TrainingError(
                f"{self.config.train.out} holds a run by optimizer.name={was}, whose state {now} cannot take over; "
                f"go on with {was}, or choose another train.out"
            )
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.average.n_updates = state["n_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        refresh(self.optimizer, self.config.optimizer)
        for name in ("step", "usual_norm", "best_loss", "best_bits", "stale", "figures", "first"):
            setattr(self, name, state[name])
        changes = _changes(state["config"], self.config.to_dict())
        if self.figures and any(change.startswith(JUDGED_BY) for change in changes):
            changes.append(f"best loss: {self.best_loss:.4g} -> none, for it is measured otherwise now")
            self.best_loss, self.best_bits, self.stale, self.first = math.inf, math.inf, 0, {}
        return changes


def build_model(config: TrainConfig) -> MelFlow:
    """The model that a run starts from: fresh weights from the seed, or those of `train.init`.

    Raises:
        ValueError: An adapter was asked for without `train.init`, `train.init` was given with `model_config`, or the
            model cannot be built or loaded.
    """
    if config.train.init is None:
        if config.finetune.rank:
            raise ValueError(
                f"finetune.rank is {config.finetune.rank}, but an adapter needs the model below it; "
                "give train.init=DIRECTORY"
            )
        torch.manual_seed(config.train.seed)
        return build(config.model, **config.model_config)
    if config.model_config:
        raise ValueError("train.init decides the model; leave model_config out")
    return load(config.train.init).requires_grad_(True)


def initialize(model: MelFlow, dataset: ItemDataset, batch_size: int) -> None:
    """Let fresh ActNorms take their statistics from the first batch of the run, whole, the same on all processes."""
    if all(m.initialized for m in model.modules() if isinstance(m, ActNorm)):
        return
    first = dataset.collate([dataset[i] for i in range(min(batch_size, INITIAL_ITEMS))])
    first = first.to(next(model.parameters()).device)
    with torch.no_grad():
        model.train()(first.audio, MelContext(first.mel))


def choose_trainable(model: MelFlow, patterns: list[str]) -> list[str]:
    """Freeze all weights but those whose name fits a pattern; the names of these.

    Args:
        model: Whose weights to freeze.
        patterns: As for `fnmatch`, such as `flow.steps.[5-9]*`.

    Raises:
        ValueError: A pattern fits no weight, or there is no pattern.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"train.trainable has {pattern!r}, which fits no weight; names look like {names[0]!r}")
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise ValueError("train.trainable is empty, so nothing would train; '*' trains everything")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return chosen


def describe(model: MelFlow) -> dict[str, Any]:
    """Registry name and config of a model."""
    return {"model": model_name(model), **config_to_dict(model.config)}


def _difference(name: str, old: Any, new: Any) -> str:
    if isinstance(old, dict):
        return ", ".join(_changes({"": old}, {"": new}))
    if isinstance(old, list):
        return f"{len(old)} weights then, {len(new)} now"
    return f"{name} {old or 'none'} then, {new or 'none'} now"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`name: old -> new` for all that differs in two nested dicts, two levels deep."""

    def flat(values: dict[str, Any]) -> dict[str, Any]:
        parts = ((k, v if isinstance(v, dict) else {"": v}) for k, v in values.items())
        return {f"{k}.{key}".strip("."): value for k, inner in parts for key, value in inner.items()}

    before, after = flat(old), flat(new)
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
