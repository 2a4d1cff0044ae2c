"""Spectrogram pictures of a reference, a synthesis and their difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.extras import require
from waveflow.metrics.spectral import check_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KILOHERTZ = (0.25, 0.5, 1, 2, 4, 8, 16)
DYNAMIC_RANGE = 80.0
DIFFERENCE_RANGE = 30.0


def save_comparison(
    path: str | Path, reference: Tensor, synthesis: Tensor, config: MelConfig, *, title: str | None = None
) -> None:
    """Write a PNG of three mel spectrograms: reference, synthesis, and synthesis less reference.

    Reference and synthesis share one colour scale, the 80 dB below their loudest value; the difference is
    drawn from -30 to 30 dB. Time in seconds, frequency in kHz on the mel scale of the bands.

    Args:
        path: Of the PNG; its folder must exist.
        reference: Full scale ±1, shape `(T,)`, at the config's sample rate.
        synthesis: The same shape.
        config: The mel to draw; its log, clip and normalisation are replaced by dB.
        title: Above the picture.

    Raises:
        ValueError: The shapes differ, or are not `(T,)`.
        MissingExtra: matplotlib is not installed.
    """
    check_pair(reference, synthesis)
    if reference.ndim != 1:
        raise ValueError(f"audio has shape {tuple(reference.shape)}, expected (T,); draw the items one by one")
    require("matplotlib", "metrics")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    transform = MelSpectrogram(config)
    x, y = (_decibels(audio, transform) for audio in (reference, synthesis))
    top = max(x.max(), y.max())
    bottom = top - DYNAMIC_RANGE
    figure = Figure(figsize=(10, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True, sharey=True)
    level = {"cmap": "magma", "vmin": bottom, "vmax": top}
    difference = {"cmap": "RdBu_r", "vmin": -DIFFERENCE_RANGE, "vmax": DIFFERENCE_RANGE}
    # Below the picture's floor a difference cannot be seen above it, and would drown what can.
    apart = np.maximum(y, bottom) - np.maximum(x, bottom)
    panels = (("reference", x, level), ("synthesis", y, level), ("synthesis - reference", apart, difference))
    seconds = len(reference) / config.sample_rate
    images = []
    for axis, (name, values, style) in zip(axes, panels):
        images.append(
            axis.imshow(values, origin="lower", aspect="auto", extent=(0, seconds, -0.5, len(values) - 0.5), **style)
        )
        axis.set_title(name, loc="left", fontsize="medium")
        _label_bands(axis, transform)
    axes[-1].set_xlabel("time (s)")
    figure.colorbar(images[0], ax=list(axes[:2]), label="dB")
    figure.colorbar(images[2], ax=axes[2], label="dB")
    if title is not None:
        figure.suptitle(title)
    figure.savefig(path, format="png", dpi=100)


def _decibels(audio: Tensor, transform: MelSpectrogram) -> np.ndarray:
    linear = transform.linear(audio.detach().cpu().float()).clamp(min=1e-10)
    return (20 / transform.config.power * linear.log10()).numpy()


def _label_bands(axis: Axes, transform: MelSpectrogram) -> None:
    """Ticks at round frequencies, placed between the bands' centres of mass."""
    weights = transform.filterbank.double().numpy()
    kilohertz = np.linspace(0, transform.config.sample_rate / 2000, weights.shape[1])
    total = weights.sum(axis=1)
    centres = (weights @ kilohertz)[total > 0] / total[total > 0]
    bands = np.flatnonzero(total > 0)
    shown = [f for f in KILOHERTZ if centres[0] <= f <= centres[-1]]
    axis.set_yticks(np.interp(shown, centres, bands), [f"{f:g}" for f in shown])
    axis.set_ylabel("kHz")
