"""Count what an inverse must compute and move, before and after folding, and how fast a device could be.

    python scripts/gpu/count.py --device "NVIDIA H200" --tflops 989 --terabytes 4.8

Prints the tables of waveflow/ops/README.md. The rates are those of the device's data sheet unless you give measured
ones; nothing here is a measurement.
"""

from __future__ import annotations

import argparse

from waveflow.inference import fuse
from waveflow.inference.folding import FoldedFlow, fold, foldable
from waveflow.inference.packed import is_narrow
from waveflow.models import LapGlow, MelFlow, build
from waveflow.models.cost import count_gmac, count_parameters

MODELS = ("waveglow-256", "waveflow-64", "squeezewave-128l", "lapglow-base")
HALF, SINGLE = 2, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="NVIDIA H200, by its data sheet")
    parser.add_argument("--tflops", type=float, default=989.0, help="dense half-precision matrix products, 1e12/s")
    parser.add_argument("--terabytes", type=float, default=4.8, help="memory, read and written, 1e12 bytes/s")
    parser.add_argument("models", nargs="*", default=[*MODELS])
    options = parser.parse_args()
    print(table(options.models, options.device, options.tflops, options.terabytes))


def table(models: list[str], device: str, tflops: float, terabytes: float) -> str:
    """A row for each model, in Markdown."""
    lines = [
        "| model | weights, MB | GMAC before | GMAC after | least MB | kernels' MB | "
        f"floor on {device}, x real time | bound by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in models:
        model = build(name)
        before, after = count_gmac(model), operations(model)
        moved = bytes_moved(model)
        least = boundary(model)
        arithmetic = 2e9 * after / (tflops * 1e12)
        memory = (least if moved is None else moved) / (terabytes * 1e12)
        bound = "arithmetic" if arithmetic > memory else "memory"
        lines.append(
            f"| {name} | {weights(model) / 1e6:.0f} | {before:.2f} | {after:.2f} | {least / 1e6:.2f} | "
            f"{'-' if moved is None else f'{moved / 1e6:.1f}'} | {1 / max(arithmetic, memory):.0f} | {bound} |"
        )
    return "\n".join(lines)


def operations(model: MelFlow) -> float:
    """Multiply-accumulates that the kernels make of the folded inverse, 1e9 a second of audio.

    More than `folded_gmac`: a narrow step sees the latent as the sum of two numbers, and rotated halves are made twice.
    """
    if not foldable(model):
        return count_gmac(fuse(model))
    folded = fold(model)
    _, _, n_features = folded.upsampling.shape
    a_position = 0
    for step in folded.steps:
        c, half = step.start.shape
        narrow = is_narrow(step)
        seen = 2 * half + 1
        for i, layer in enumerate(step.layers):
            taps = seen if i == 0 and narrow else c
            a_position += 2 * c * (len(layer.taps) * taps + n_features) + layer.end.numel()
            a_position += 0 if layer.mix is None else layer.mix.numel()
        a_position += step.mix.numel() + c * (seen if narrow else 2 * half)
    if folded.encoder is not None:
        a_position += folded.encoder.n_products
    if folded.gain is not None:
        # The gain, and the transform, of which the rotated halves are made twice.
        a_position += folded.gain[0].numel() + 3 * model.n_group**2
    return a_position * positions(model) / 1e9


def boundary(model: MelFlow) -> float:
    """Bytes that any implementation moves for a second of audio: noise and mel in, samples out."""
    mel = model.mel_config
    return mel.sample_rate * (2 * SINGLE) + mel.sample_rate / mel.hop_length * mel.n_mels * SINGLE


def bytes_moved(model: MelFlow) -> float | None:
    """Bytes that the kernels move for a second of audio, each tensor once a layer; None without kernels.

    A layer reads and writes the hidden state, and adds to the network's output in single precision; taps that meet a
    row again find it in the cache.
    """
    if not foldable(model):
        return None
    folded = fold(model)
    n_positions, _, n_features = folded.upsampling.shape
    a_position = 0.0
    for step in folded.steps:
        c, half = step.start.shape
        narrow = is_narrow(step)
        for i, layer in enumerate(step.layers):
            first = i == 0 and narrow
            a_position += half * SINGLE if first else c * HALF
            a_position += 0 if layer.mix is None else c * HALF
            a_position += n_features * HALF / n_positions
            a_position += 2 * half * SINGLE * (1 if i == 0 else 2)
        a_position += 3 * 2 * half * SINGLE + step.early * 2 * SINGLE + (0 if narrow else c * HALF)
    if isinstance(model, LapGlow):
        a_position += 3 * model.n_group * SINGLE
    return a_position * positions(model)


def weights(model: MelFlow) -> float:
    """Bytes of what the kernels read of the weights, or of the half-precision parameters without kernels."""
    return count_parameters(model) * HALF if not foldable(model) else HALF * folded_numbers(fold(model))


def folded_numbers(folded: FoldedFlow) -> int:
    n_positions, _, n_features = folded.upsampling.shape
    total = 0
    for step in folded.steps:
        for layer in step.layers:
            total += layer.taps.numel() + layer.end.numel() + n_positions * len(layer.context) * n_features
            total += 0 if layer.mix is None else layer.mix.numel()
        total += step.mix.numel()
    return total


def positions(model: MelFlow) -> float:
    """Positions of the flow in a second of audio."""
    return model.mel_config.sample_rate / model.n_group


if __name__ == "__main__":
    main()
