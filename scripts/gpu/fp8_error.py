"""Measure what 8-bit operands would cost, before a kernel is written for them: no GPU needed.

    python scripts/gpu/fp8_error.py

The reference of the packed flow is run with operands rounded to float8_e4m3fn: the gate's product alone (weights with a
scale for each output and tile of 64 inputs, inputs with one for each position), or the two that follow it too. Writes
benchmarks/fp8-<machine>.json: decibels of signal to error from the model in float64, on real mels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import setting
import torch
from torch import Tensor

from waveflow.decibels import signal_to_error
from waveflow.inference.noise import batch_normal
from waveflow.inference.packed import PackedFlow, pack
from waveflow.inference.planned import PlannedInverse
from waveflow.ops.wavenet_layer import reference

LARGEST = torch.finfo(torch.float8_e4m3fn).max


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lapglow", "waveglow-64"])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--output", type=Path, default=setting.RESULTS)
    options = parser.parse_args()
    device, rows = torch.device("cpu"), []
    for name in options.model:
        model = setting.model(name)
        n_frames = max(4, round(options.seconds * model.mel_config.sample_rate / model.mel_config.hop_length))
        mel = setting.speech(1, n_frames, device)
        latent = model.config.sigma * batch_normal([1], 0, n_frames * model.mel_config.hop_length)
        with torch.no_grad():
            exact = setting.copy_in_double(model).inverse(latent.double(), mel.double())
            inverse = PlannedInverse(pack(model, torch.float16), "reference")
            row: dict[str, Any] = {"model": name, "float16": signal_to_error(inverse(latent, mel), exact).item()}
            for what, after in (("float8 gate", False), ("float8", True)):
                flow = pack(model, torch.float16)
                round_weights(flow, after=after)
                with round_inputs(after=after):
                    row[what] = signal_to_error(PlannedInverse(flow, "reference")(latent, mel), exact).item()
        rows.append({k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()})
        print(*(f"{k}: {v}" for k, v in rows[-1].items()), flush=True)
        setting.write("fp8", device, {"seconds": options.seconds, "models": rows}, options.output)


def rounded(x: Tensor, over: int) -> Tensor:
    """To 8 bits and back, with one scale for the numbers along a dimension."""
    scale = x.abs().amax(over, keepdim=True).float().clamp_min(1e-12) / LARGEST
    return ((x.float() / scale).to(torch.float8_e4m3fn).float() * scale).to(x.dtype)


def round_weights(flow: PackedFlow, *, after: bool) -> None:
    """Round the gates' weights, and with `after` those that follow: a scale for each output and tile of inputs."""
    for layer in (layer for step in flow.steps for layer in step.layers):
        layer.gate_weight = rounded(layer.gate_weight, 2)
        if after:
            layer.end_weight = rounded(layer.end_weight, 1)
            layer.mix_weight = None if layer.mix_weight is None else rounded(layer.mix_weight, 1)


def round_inputs(*, after: bool) -> AbstractContextManager[Any]:
    """While entered, the reference rounds what the weights are multiplied with: a scale for each position and tap."""
    shifts, told, gated = reference._shifts, reference._told, reference._gated

    def shifted(h: Tensor, taps: int, dilation: int) -> Iterator[Tensor]:
        # A folded first layer sees the latent as the sum of two numbers, which stays in half precision.
        folded = h.shape[2] % 8 != 0
        return (x if folded else rounded(x, 2) for x in shifts(h, taps, dilation))

    def told_by(hidden: Tensor, tiles: Tensor, gate_bias: Tensor, n_channels: int) -> Tensor:
        n = len(gate_bias) * n_channels
        eight = torch.cat([hidden[..., :n], rounded(hidden[..., n:], 2)], dim=2)
        return told(eight, tiles, gate_bias, n_channels)

    def gate(a: Tensor, b: Tensor) -> Tensor:
        return rounded(gated(a, b), 2) if after else gated(a, b)

    return mock.patch.multiple(reference, _shifts=shifted, _told=told_by, _gated=gate)


if __name__ == "__main__":
    main()
