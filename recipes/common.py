"""What the small recipes share: a command with a config, a training loop, a Markdown table, a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_COLOURS = 48


def launch(main: Callable[[Any], None], schema: type, folder: Path) -> None:
    """Run a recipe on the `config.yaml` of its folder with the command line's overrides; an unknown key fails.

    Args:
        main: Called with an instance of the schema.
        schema: A dataclass, named by the folder in the YAML file's defaults.
        folder: The recipe's.
    """
    ConfigStore.instance().store(folder.name, schema)

    def composed(config: Any) -> None:
        main(OmegaConf.to_object(config))

    hydra.main(config_path=str(folder), config_name="config", version_base="1.3")(composed)()


def choose(given: Sequence[str], known: Iterable[str]) -> None:
    """End the recipe where a name that was asked for does not exist."""
    known = [*known]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")


def fit(
    parameters: Iterable[nn.Parameter], loss_of_step: Callable[[int], Tensor], steps: int, learning_rate: float
) -> float:
    """Take steps of Adam at a rate that falls along a cosine, without those whose gradient is not finite.

    Returns:
        Seconds of the processor.
    """
    parameters = [*parameters]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started = time.process_time()
    for step in range(steps):
        optimizer.zero_grad()
        loss_of_step(step).backward()
        # An inverse autoregression can blow up on one batch; without that batch training goes on.
        if nn.utils.clip_grad_norm_(parameters, 5.0).isfinite():
            optimizer.step()
        schedule.step()
    return time.process_time() - started


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def new_figure(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure that needs no display, and its axes as an array of rows and columns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)


def save_figure(figure: Figure, path: Path, dpi: int = 90) -> Path:
    """Write a picture of few enough colours to stay small, close it, and give its path."""
    from matplotlib import pyplot
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(pad=0.6)
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(N_COLOURS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path
