"""The demo's pictures: quiet, legible on a phone, drawn without a display."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

INK, MUTED, LINE = "#1f2933", "#6b7785", "#2563a8"
_STYLE = {"labelsize": 10, "colors": MUTED, "length": 3}


def spectrogram(mel: Tensor, hop_length: int, sample_rate: int, low: float, high: float, title: str) -> np.ndarray:
    """A log-mel `(n_mels, F)` over seconds, its colours from `low` to `high`, as RGB."""
    figure, (axes,) = _figure(5.6, 3.1, [1])
    axes.set_title(title, loc="left", color=INK, fontsize=12)
    seconds = mel.shape[1] * hop_length / sample_rate
    axes.imshow(
        mel.numpy(), origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
        extent=(0, seconds, 0, mel.shape[0]), interpolation="nearest",
    )  # fmt: skip
    axes.set_xlabel("seconds", color=MUTED)
    axes.set_ylabel("mel band", color=MUTED)
    return _pixels(figure)


def likelihood(audio: Tensor, nats: Tensor, sample_rate: int, hop_length: int) -> np.ndarray:
    """The waveform `(T,)`, and under it nats a sample of each frame `(F,)`, as RGB."""
    figure, (above, below) = _figure(5.8, 4.3, [2, 3])
    above.set_title("Recording, and how likely it is", loc="left", color=INK, fontsize=12)
    times = np.arange(len(nats)) * hop_length / sample_rate
    blocks = audio[: len(nats) * hop_length].view(len(nats), hop_length).numpy()
    above.fill_between(times, blocks.min(1), blocks.max(1), color=LINE, linewidth=0)
    above.set_ylabel("amplitude", color=MUTED)
    above.tick_params(labelbottom=False)
    per_sample = nats.numpy() / hop_length
    below.plot(times, per_sample, color=INK, linewidth=1.0)
    mean = float(per_sample.mean())
    below.axhline(mean, color=LINE, linewidth=1.0, linestyle=(0, (4, 3)))
    below.annotate(
        f"mean {mean:.2f}", (1, mean), (-4, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", color=LINE, fontsize=10,
    )  # fmt: skip
    below.set_ylabel("nats a sample", color=MUTED)
    below.set_xlabel("seconds", color=MUTED)
    for axes in (above, below):
        axes.set_xlim(0, len(nats) * hop_length / sample_rate)
    return _pixels(figure)


def _figure(width: float, height: float, rows: list[int]) -> tuple[Figure, list]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for one in axes:
        one.tick_params(**_STYLE)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color("#c5ccd3")
    return figure, list(axes)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
