"""What a training run is told: the schema of every recipe, and of the overrides on the command line.

One file, a little longer than most: it is what a user reads to know every setting.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waveflow.names import unknown_name
from waveflow.training.limits import LOWEST, RANGES

MISSING = "???"


@dataclass
class DataConfig:
    """Which recordings, and how items are cut from them.

    Attributes:
        manifest: The corpus that `waveflow preprocess` wrote: its folder, or the manifest in it; or the folder that its
            `--shards` wrote, which is streamed.
        segment: Samples of an item; rounded down to whole mel frames.
        batch_size: Items of one optimizer step, over all processes and accumulated parts.
        balance: A speaker with `s` samples comes in proportion to `s ** balance`: 1 leaves the corpus as it is, 0
            gives every speaker the same.
        gain_db: Lowest and highest change of level drawn for an item, dB.
        gain_share: Share of the items whose level is changed.
        mels: Folder of mels that an acoustic model predicted for the recordings, to train on instead of their own.
            These fit a recording as it is: levels stay, and items begin where a frame does.
        source: Folder or http(s) address of the tar files of a corpus in shards, where they are not in its folder.
        cache: Folder in which shards from an address are kept for a while, the newest `2 * window` of them.
        window: Shards among which items are shuffled.
        workers: Reading processes for each training process; 0 reads in the training process.
        timeout: Seconds after which a reading process that gives nothing counts as hung; 0 waits for ever.
    """

    manifest: str = MISSING
    segment: int = 16384
    batch_size: int = 16
    balance: float = 0.0
    gain_db: list[float] = field(default_factory=lambda: [-12.0, 6.0])
    gain_share: float = 0.5
    mels: str | None = None
    source: str | None = None
    cache: str | None = None
    window: int = 8
    workers: int = 2
    timeout: float = 300.0


@dataclass
class OptimizerConfig:
    """AdamW (arXiv:1711.05101), or Muon for the matrices of networks and AdamW for the rest.

    Attributes:
        name: `adamw` or `muon`.
        lr: Learning rate for the whole batch, at the top of the schedule.
        betas: Decay of the averages of gradient and squared gradient.
        eps: Added to the root of the latter.
        weight_decay: Pull of every weight towards 0.
        clip: Largest norm of the gradient; 0 does not clip.
        unusual: A step whose gradient is so many times as long as usual is left out; 0 leaves none out.
        muon_scale: Muon's rate, as a multiple of `lr`.
        muon_decay: Its pull towards 0.
    """

    name: str = "adamw"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 5.0
    unusual: float = 8.0
    muon_scale: float = 1.5
    muon_decay: float = 0.1


@dataclass
class ScheduleConfig:
    """The learning rate over the steps.

    Attributes:
        warmup: Steps in which it rises from 0.
        shape: `cosine` falls from then to the end; `constant` stays, and falls in a line during `cooldown`.
        cooldown: Steps of that fall, the last ones.
        final: Share of the rate that is left at the end.
    """

    warmup: int = 200
    shape: str = "cosine"
    cooldown: int = 0
    final: float = 0.0


@dataclass
class ObjectiveConfig:
    """Likelihood, and for some items the spectral distance of a sample drawn through the inverse.

    Attributes:
        spectral_weight: Weight of the distance against nats per sample; 0 leaves it out.
        spectral_share: Share of the batch that is synthesised.
        mel_weight: Weight of the log-mel distance within the spectral one.
        loudness_weight: Weight of the distance in loudness within it.
        phase_weight: Weight of the distance in how phases advance within it.
        own_weight: Weight of how much less likely the sample is than the recording; see `Objective`. It takes about a
            third more time.
        sigma: Standard deviation of the latent that is synthesised; the model's own unless given.
    """

    spectral_weight: float = 0.3
    spectral_share: float = 0.5
    mel_weight: float = 1.0
    loudness_weight: float = 0.0
    phase_weight: float = 0.0
    own_weight: float = 0.0
    sigma: float | None = None


@dataclass
class LoopConfig:
    """The run itself.

    Attributes:
        out: Folder of the run: checkpoints, log, TensorBoard, and at the end the model. An unfinished run found there
            goes on. Processes on several machines must share it.
        steps: Optimizer steps altogether.
        seed: Of weights, order of data, and noise.
        device: `auto`, `cpu`, `cuda`, ...
        bf16: Run the networks in bfloat16 by autocast; weights, maps and likelihood stay in float32.
        reversible: Recompute activations instead of storing them.
        compile: Run the model through torch.compile; of a LapGlow on a CPU what is elementwise.
        accumulate: Parts into which each process splits its share of the batch, one after another.
        ema: Decay of the average of weights that is validated and saved as the model.
        log_every: Steps between lines of the log.
        validate_every: Steps between validations, each followed by a checkpoint.
        validate_clips: Held-out recordings that are scored, at most.
        validate_seconds: Seconds of each, at most.
        listen: Held-out recordings that are synthesised for TensorBoard.
        save_every: Steps between further checkpoints.
        keep: Newest checkpoints that are kept, besides the best one.
        patience: Validations in a row without a new best after which the run ends; 0 runs to the end.
        init: Native checkpoint to start from instead of fresh weights.
        trainable: Patterns of names of the weights that train, as `fnmatch` reads them; with `finetune.rank` of those
            that get an update.
    """

    out: str = MISSING
    steps: int = 100_000
    seed: int = 0
    device: str = "auto"
    bf16: bool = True
    reversible: bool = False
    compile: bool = False
    accumulate: int = 1
    ema: float = 0.998
    log_every: int = 50
    validate_every: int = 2000
    validate_clips: int = 16
    validate_seconds: float = 10.0
    listen: int = 2
    save_every: int = 1000
    keep: int = 2
    patience: int = 0
    init: str | None = None
    trainable: list[str] = field(default_factory=lambda: ["*"])


@dataclass
class FinetuneConfig:
    """Low-rank adapters: small updates on top of `train.init`, whose own weights stay as they are.

    Attributes:
        rank: Of the update of each matrix that `train.trainable` chooses; 0 trains the weights themselves.
        vectors: Let chosen biases and gains move too.
    """

    rank: int = 0
    vectors: bool = True


@dataclass
class TrainConfig:
    """Everything that decides a training run.

    Attributes:
        model: A name of the model registry; with `train.init`, the checkpoint decides and this is not read.
        model_config: Settings of the model that differ from the named ones.
    """

    model: str = "lapglow-base"
    model_config: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    train: LoopConfig = field(default_factory=LoopConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """A config from nested plain values; what is left out takes its default.

        Raises:
            ValueError: A key is unknown (the nearest valid one is named), a value of the wrong kind or out of range.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        check_keys(values)
        try:
            merged = OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.create(dict(values)))
            plain: Any = OmegaConf.to_container(merged)
            config = cls(**_plain(plain, cls))
        except OmegaConfBaseException as error:
            raise ValueError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
        config.validate()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for YAML and JSON."""
        return dataclasses.asdict(self)

    def validate(self) -> None:
        """Check the settings that can be wrong by themselves.

        Raises:
            ValueError: A setting is missing or out of its range; it is named as on the command line.
        """
        for name, value in (("data.manifest", self.data.manifest), ("train.out", self.train.out)):
            if value in (MISSING, ""):
                raise ValueError(f"{name} is not given; add {name}=PATH")
        for name in known_keys():
            value = get(self, name)
            values = value if isinstance(value, list) else [value]
            if not all(math.isfinite(x) for x in values if isinstance(x, float)):
                raise ValueError(f"{name} is {value}, expected finite numbers")
        for name, lowest in LOWEST.items():
            value = get(self, name)
            if not value >= lowest:
                raise ValueError(f"{name} is {value}, expected at least {lowest}")
        for name, (lowest, highest) in RANGES.items():
            value = get(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} is {value}, expected {lowest} to {highest}")
        for name in ("data.gain_db", "optimizer.betas"):
            if len(get(self, name)) != 2:
                raise ValueError(f"{name} is {get(self, name)}, expected two numbers")
        if not all(0 <= beta < 1 for beta in self.optimizer.betas):
            raise ValueError(f"optimizer.betas is {self.optimizer.betas}, expected numbers from 0 to below 1")
        if self.objective.sigma is not None and self.objective.sigma < 0:
            raise ValueError(f"objective.sigma is {self.objective.sigma}, expected at least 0")
        if self.data.gain_db[0] > self.data.gain_db[1]:
            raise ValueError(f"data.gain_db is {self.data.gain_db}, expected the lower level first")
        if self.optimizer.name not in OPTIMIZERS:
            raise ValueError(f"optimizer.name is {self.optimizer.name!r}, expected one of {OPTIMIZERS}")
        if self.schedule.shape not in SHAPES:
            raise ValueError(f"schedule.shape is {self.schedule.shape!r}, expected one of {SHAPES}")
        if self.schedule.warmup + self.schedule.cooldown > self.train.steps:
            raise ValueError(
                f"schedule.warmup={self.schedule.warmup} and schedule.cooldown={self.schedule.cooldown} are more than "
                f"train.steps={self.train.steps}; shorten them or train longer"
            )


OPTIMIZERS = ("adamw", "muon")
SHAPES = ("cosine", "constant")


def get(config: TrainConfig, name: str) -> Any:
    """The setting of a dotted name, e.g. `optimizer.lr`."""
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key) if key else getattr(config, section)


def n_chosen(config: TrainConfig) -> int:
    """Items of a whole batch that are synthesised, for the spectral loss and for how likely they are."""
    objective = config.objective
    if not (objective.spectral_weight or objective.own_weight) or not objective.spectral_share:
        return 0
    return max(1, round(config.data.batch_size * objective.spectral_share))


def known_keys() -> list[str]:
    """Dotted names of all settings; what is inside `model_config` is the model's own."""
    keys = []
    for item in dataclasses.fields(TrainConfig):
        keys.append(item.name)
        if dataclasses.is_dataclass(item.default_factory):
            keys += [f"{item.name}.{inner.name}" for inner in dataclasses.fields(item.default_factory)]
    return keys


def check_key(key: str) -> None:
    """Refuse a dotted name that no setting has.

    Raises:
        ValueError: With the nearest valid name.
    """
    known = known_keys()
    if key in known or key.startswith("model_config."):
        return
    elsewhere = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    raise ValueError(unknown_name("setting", key, known, likely=elsewhere))


def check_keys(values: Mapping[str, Any]) -> None:
    """Refuse nested values with an unknown key; errors as `check_key`."""
    for section, inner in values.items():
        check_key(str(section))
        if isinstance(inner, Mapping) and section != "model_config":
            for key in inner:
                check_key(f"{section}.{key}")


def _plain(values: dict[str, Any], config_class: type) -> dict[str, Any]:
    """Give each section of plain values its dataclass."""
    sections: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(config_class)}
    return {
        name: sections[name](**value) if dataclasses.is_dataclass(sections[name]) else value
        for name, value in values.items()
    }
