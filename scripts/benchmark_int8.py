"""What 8-bit operands would gain LapGlow on a CPU, and what they would cost: why `dtype=int8` is not offered.

    python scripts/benchmark_int8.py

Products of LapGlow's sizes in bfloat16 and by oneDNN's int8, on one thread by its own time; then the signal to error of
the bundled model with weights rounded for each output channel and inputs for each position, the rest in float64.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from waveflow.audio import io
from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints import native
from waveflow.decibels import signal_to_error
from waveflow.inference import fuse
from waveflow.inference.loading import find_checkpoint
from waveflow.inference.noise import batch_normal
from waveflow.models import MelFlow

CLIP = Path(__file__).parents[1] / "tests/data/ljspeech/wavs/LJ001-0008.flac"
PRODUCTS = ((431, 320, 384), (108, 192, 384), (1024, 256, 512))
ROUNDED = {"every convolution of the WaveNets": "conditioner", "the conditioning": "context", "the dilated": "dilated"}


def rate(run: Callable[[], object], amount: int, runs: int = 80) -> float:
    """The best of some runs, in 1e9 a second."""
    run()
    taken = []
    for _ in range(runs):
        start = time.thread_time()
        run()
        taken.append(time.thread_time() - start)
    return amount / min(taken) / 1e9


def products(rows: int, inputs: int, outputs: int) -> tuple[float, float]:
    """GMAC/s of a product in bfloat16 and in int8."""
    a, b = torch.randn(rows, inputs).bfloat16(), torch.randn(inputs, outputs).bfloat16()
    out = torch.empty(rows, outputs, dtype=torch.bfloat16)
    x = torch.randint(0, 255, (rows, inputs), dtype=torch.uint8)
    weight = torch.randint(-127, 127, (outputs, inputs), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(weight, [rows, inputs])
    scales, zeros = torch.full((outputs,), 0.01), torch.zeros(outputs, dtype=torch.long)
    after = (None, 1.0, 0, torch.bfloat16, "none", [], "")
    amount = rows * inputs * outputs
    return (
        rate(lambda: torch.mm(a, b, out=out), amount),
        rate(lambda: torch.ops.onednn.qlinear_pointwise(x, 0.02, 128, packed, scales, zeros, *after), amount),
    )


def rounded(values: Tensor) -> Tensor:
    """To 8 bits along dimension 1, by the largest value there."""
    scale = values.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
    return torch.round(values / scale) * scale


@torch.no_grad()
def error(flow: MelFlow, latent: Tensor, mel: Tensor, part: str) -> float:
    """Signal to error in dB of the inverse with the convolutions of that name rounded."""
    exact, trial = flow.inverse(latent, mel), copy.deepcopy(flow)
    for name, module in trial.named_modules():
        if isinstance(module, nn.Conv1d) and part in name:
            module.weight.copy_(rounded(module.weight.flatten(1)).view_as(module.weight))
            module.register_forward_pre_hook(lambda _, given: (rounded(given[0]), *given[1:]))
    return signal_to_error(trial.inverse(latent, mel), exact).item()


def main() -> None:
    torch.set_num_threads(1)
    print("| product | bfloat16, GMAC/s | int8, GMAC/s |\n| --- | ---: | ---: |")
    for sizes in PRODUCTS:
        print(f"| {' x '.join(map(str, sizes))} | " + " | ".join(f"{found:.0f}" for found in products(*sizes)) + " |")
    model = native.load(find_checkpoint("lapglow")).eval()
    mel = MelSpectrogram(model.mel_config)(io.read(CLIP)[0][None])[..., 20:80].double()
    latent = 0.8 * batch_normal([3], 0, 60 * model.n_group).double()
    flow = fuse(model).double()
    for what, part in ROUNDED.items():
        print(f"{what} in int8: {error(flow, latent, mel, part):.0f} dB")


if __name__ == "__main__":
    main()
