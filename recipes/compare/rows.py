"""How much WaveFlow's inverse gains by remembering rows: the audio of both ways, their operations and their time.

    python recipes/compare/rows.py --seconds 1

Without memory, each row is computed by the whole network over all the rows before it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from waveflow.bijections import HeightAutoregressive
from waveflow.inference.fuse import fuse
from waveflow.models import WaveFlow, build
from waveflow.nn.context import Context


def forgetful_inverse(step: HeightAutoregressive, z: Tensor, context: Context) -> Tensor:
    """The inverse of one step, `(B, H, L)`, computing everything anew for every row."""
    features, mask = context
    height = len(step.order)
    told = features.view(z.shape[0], -1, height, z.shape[-1]).index_select(2, step.index[1:])
    rows = z[:, [step.order[0]]]
    for n, i in enumerate(step.order[1:], start=1):
        parameters = step.conditioner(rows[:, None], Context(told[:, :, :n], mask))[:, :, -1]
        t, log_s = parameters.unbind(1)
        rows = torch.cat([rows, ((z[:, i] - t) * torch.exp(-log_s))[:, None]], dim=1)
    return rows.index_select(1, step.inverse_index)


def forgetful(model: WaveFlow, z: Tensor, mel: Tensor) -> Tensor:
    """Audio `(B, T)` of a latent, by steps that remember nothing."""
    squeeze, *steps, last = model.flow.steps
    told = Context(model.features(mel)[..., : z.shape[1] // model.n_group])
    x = last.inverse(z.view(z.shape[0], -1, model.n_group).transpose(1, 2))
    for step in reversed(steps):
        x = forgetful_inverse(step, x, told)
    return squeeze.inverse(x)


def perturbed(height: int, n_channels: int) -> WaveFlow:
    """A WaveFlow whose couplings do something, ready for synthesis."""
    torch.manual_seed(0)
    model = build("waveflow", n_group=height, n_channels=n_channels)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return fuse(model.eval())


@torch.inference_mode()
def measure(run: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float, float]:
    """The audio, operations in 1e9, and the median of the processor's seconds."""
    with FlopCounterMode(display=False) as counter:
        audio = run()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return audio, counter.get_total_flops() / 2e9, statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=16, help="rows")
    parser.add_argument("--channels", type=int, default=64, help="width of the networks")
    parser.add_argument("--seconds", type=float, default=1.0, help="of audio")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = perturbed(args.height, args.channels)
    mel = model.mel_config
    frames = max(1, round(args.seconds * mel.sample_rate / mel.hop_length))
    z, features = torch.randn(1, frames * mel.hop_length), torch.randn(1, mel.n_mels, frames)
    with torch.inference_mode():
        ways = {
            "forgetting": measure(lambda: forgetful(model, z, features), args.repeats),
            "remembering": measure(lambda: model.inverse(z, features), args.repeats),
        }
    for name, (_, gmac, seconds) in ways.items():
        print(f"{name:12} {gmac:9.1f} GMAC  {seconds:7.2f} CPU s for {z.shape[1] / mel.sample_rate:.2f} s of audio")
    (slow, most, long), (fast, least, short) = ways.values()
    apart = ((slow - fast).abs().max() / slow.abs().max()).item()
    print(f"{most / least:.1f} x fewer operations, {long / short:.1f} x faster, audio apart by {apart:.1e} of its peak")


if __name__ == "__main__":
    main()
