"""From a trained model to a new voice: the same loop, started from a checkpoint, gentler, and with early stopping."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from waveflow.checkpoints.native import read_facts
from waveflow.data.cleaning import CleaningConfig
from waveflow.data.manifest import NAME
from waveflow.data.preprocess import Report, preprocess
from waveflow.training.config import TrainConfig
from waveflow.training.recipe import compose

DEFAULTS = (
    "data.batch_size=8",
    "data.workers=0",
    "data.gain_share=0.25",
    "optimizer.name=muon",
    "optimizer.lr=2e-4",
    "schedule.warmup=50",
    "objective.spectral_weight=1.0",
    "objective.spectral_share=1.0",
    "objective.mel_weight=7.0",
    "objective.loudness_weight=30.0",
    "train.steps=400",
    "train.ema=0.99",
    "train.validate_every=100",
    "train.save_every=100",
    "train.patience=5",
    "train.listen=0",
    "train.keep=1",
)
"""What differs from training anew, for some minutes of speech, as in `recipes/finetune`; overrides come after these.

Likelihood is gained in the first steps, mostly above the mel's highest band, where voices and microphones differ. How a
synthesis sounds takes the whole weight of the spectral distance, that of loudness within it, by which the bundled
models were trained as well, and a rate that falls to zero within the run.
"""

ADAPTER_DEFAULTS = ("finetune.rank=6", "optimizer.name=adamw", "optimizer.lr=2e-3", "train.steps=800")
"""What differs besides for a low-rank adapter, whose factors begin small and take larger steps."""

HELD_OUT = 0.1
"""Share of a speaker's recordings that decides when to stop."""


def finetune_config(
    base: str | Path,
    corpus: str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    adapter: bool = False,
) -> TrainConfig:
    """The config of a run that adapts a model to a corpus.

    Args:
        base: Native checkpoint to start from.
        corpus: What `waveflow preprocess` or `speaker_corpus` wrote.
        out: Folder of the run.
        recipe: As in `compose`.
        overrides: Settings that differ from `DEFAULTS`, e.g. `train.trainable=["*.end.*"]`.
        adapter: Train a low-rank adapter instead of the weights themselves.

    Raises:
        ValueError: The base is no native checkpoint, or a setting is wrong.
    """
    read_facts(base)
    defaults = [*(() if recipe else DEFAULTS), *(ADAPTER_DEFAULTS if adapter else ())]
    for name, given in (("data.manifest", "--speaker"), ("train.out", "--output"), ("train.init", "--model")):
        if any(text.lstrip("+").startswith(f"{name}=") for text in overrides):
            raise ValueError(f"{name} is not a setting here, for {given} says it; leave it out")
    config = compose(recipe, [*defaults, *overrides, "data.manifest=later", "train.out=later"])
    # Paths are set past Hydra, whose grammar gives a meaning to characters that a path may have.
    config.data.manifest, config.train.out, config.train.init = str(corpus), str(out), str(base)
    return config


def speaker_corpus(
    recordings: str | Path, base: str | Path, out: str | Path, *, workers: int = 1
) -> tuple[Path, Report | None]:
    """Make a corpus of one speaker's recordings at the rate of a model, some of them held out.

    Args:
        recordings: Folder of recordings; or a corpus, which is taken as it is.
        base: Native checkpoint whose sample rate is wanted.
        out: Folder of the corpus.
        workers: Processes.

    Returns:
        The corpus, and the report of what was set aside, None for a corpus taken as it is.

    Raises:
        ValueError: No recording is fit for training, or there are not enough to hold one out; or several processes
            would write the corpus at once.
    """
    if (Path(recordings) / NAME).is_file():
        return Path(recordings), None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"{recordings} is no corpus, and several processes cannot make one; run `waveflow preprocess` on it first"
        )
    cleaning = CleaningConfig(sample_rate=read_facts(base)["config"]["mel"]["sample_rate"])
    report = preprocess([recordings], out, cleaning, validation=HELD_OUT, test=0, workers=workers)
    if len(report.manifest.entries) < 2:
        raise ValueError(
            f"{recordings} has {len(report.manifest.entries)} recordings fit for training, too few to hold one out; "
            "give at least two, better a few minutes in clips of some seconds"
        )
    return Path(out), report
