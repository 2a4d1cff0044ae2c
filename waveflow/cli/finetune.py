"""`waveflow finetune`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from waveflow.cli.inputs import OUTPUT, JsonOption, complain
from waveflow.cli.train import run_training


def finetune(
    speaker: Annotated[
        Path, typer.Option("--speaker", "-s", help="Folder of recordings, or a corpus of `waveflow preprocess`.")
    ],
    output: Annotated[Path, typer.Option(*OUTPUT, help="Folder of the run; the model will be in its model/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Settings of training that differ.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Bundled model, checkpoint directory or run to start from.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A recipe instead of the settings for some minutes of speech.")
    ] = None,
    adapter: Annotated[
        bool,
        typer.Option("--adapter", help="Train low-rank updates: a file under 1 MB on top of the model."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Adapt a model to a speaker, until held-out recordings get no more likely.

    Which weights train is chosen by name: `train.trainable=["flow.steps.[5-9]*"]`. With `--adapter` the folder of the
    run also has `adapter.safetensors`, for `waveflow.load(model, adapter=...)`; `finetune.rank=4` makes it smaller.

    Example: `waveflow finetune --speaker recordings/ -o runs/speaker`

    Example: `waveflow finetune --speaker recordings/ -o runs/speaker --adapter`
    """
    from waveflow.inference.loading import find_checkpoint
    from waveflow.training.finetune import finetune_config, speaker_corpus

    base = find_checkpoint(model)
    # Settings are checked first: preparing a corpus takes longer than reading a mistake.
    config = finetune_config(base, speaker, output, recipe=recipe, overrides=overrides or (), adapter=adapter)
    corpus, report = speaker_corpus(speaker, base, output / "corpus", workers=os.cpu_count() or 1)
    for item in report.rejected if report else ():
        complain(f"set aside as {item.reason}: {item.detail}", Path(item.path))
    config.data.manifest = str(corpus)
    run_training(config, json)
