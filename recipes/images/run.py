"""Glow and RealNVP on handwritten digits: bits per dimension, samples of every digit, and digits told by likelihood."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import choose, fit, launch, markdown, new_figure, save_figure
from digits import (
    N_CLASSES,
    N_TRAIN,
    SHAPE,
    baseline,
    bits_per_dimension,
    dequantize,
    levels,
    load,
    one_hot,
    pixels,
)

from waveflow import Flow
from waveflow.bijections import Bijection, Chain, Glow, ImageRealNVP
from waveflow.distributions import StandardNormal, from_transform

FLOWS: dict[str, Callable[[int], Bijection]] = {
    "realnvp": lambda width: ImageRealNVP(SHAPE, 2, 3, context_channels=N_CLASSES, n_channels=width),
    "glow": lambda width: Glow(SHAPE[0], 2, 6, context_channels=N_CLASSES, n_hidden=width),
}


@dataclass
class Config:
    """What is trained, and for how long.

    Attributes:
        flows: By the names above.
        width: Channels of the couplings' networks.
        steps: Steps of Adam.
        batch_size: Digits a step.
        learning_rate: At the start; it falls to zero along a cosine.
        n_noise: Draws of the dequantization noise that a held-out digit is scored with.
        temperature: Standard deviation of the latent that samples are drawn from.
        seed: Of weights, batches and noise.
        out: Where results are written.
    """

    flows: list[str] = field(default_factory=lambda: [*FLOWS])
    width: int = 32
    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 2e-3
    n_noise: int = 5
    temperature: float = 0.8
    seed: int = 0
    out: str = "runs/images"


def build(name: str, width: int) -> Flow:
    """A fresh flow over pixels between 0 and 1, told the digit."""
    return Flow(StandardNormal(*SHAPE), Chain([from_transform(pixels()), FLOWS[name](width)]))


def train(name: str, images: Tensor, digits: Tensor, config: Config) -> tuple[Flow, float]:
    """Fit a flow to images of known digits; also the seconds it took."""
    torch.manual_seed(config.seed)
    flow = build(name, config.width)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(images), (config.batch_size,))
        return bits_per_dimension(flow.log_prob(dequantize(images[chosen]), one_hot(digits[chosen]))).mean()

    seconds = fit(flow.parameters(), track_steps(loss, config.steps, name), config.steps, config.learning_rate)
    return flow.eval(), seconds


def track_steps(loss: Callable[[int], Tensor], steps: int, name: str) -> Callable[[int], Tensor]:
    """The same loss, with a bar that moves at each call."""
    bar = iter(track(range(steps), name))

    def tracked(step: int) -> Tensor:
        next(bar)
        return loss(step)

    return tracked


@torch.no_grad()
def log_prob_of_digits(flow: Flow, images: Tensor, n_noise: int) -> Tensor:
    """The log-density of each image under each of the ten digits, `(B, 10)`, the mean over draws of the noise."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(len(images), N_CLASSES)
    for _ in range(n_noise):
        noisy = dequantize(images, generator)
        told = one_hot(torch.arange(N_CLASSES))
        for digit in range(N_CLASSES):
            total[:, digit] += flow.log_prob(noisy, told[digit : digit + 1]) / n_noise
    return total


def evaluate(flow: Flow, images: Tensor, digits: Tensor, n_noise: int) -> dict[str, float]:
    """Bits a pixel given the right digit, and how often the likeliest digit is the right one."""
    scores = log_prob_of_digits(flow, images, n_noise)
    right = scores.gather(1, digits[:, None])[:, 0]
    return {
        "bits": bits_per_dimension(right).mean().item(),
        "told": (scores.argmax(1) == digits).float().mean().item(),
    }


@torch.no_grad()
def samples(flow: Flow, n_each: int, temperature: float, seed: int) -> Tensor:
    """Images of each digit, `(10, n_each, 8, 8)`, whole levels."""
    told = one_hot(torch.arange(N_CLASSES).repeat_interleave(n_each))
    z = temperature * torch.randn(len(told), *SHAPE, generator=torch.Generator().manual_seed(seed))
    return levels(flow.bijection.inverse(z, told)).view(N_CLASSES, n_each, *SHAPE[1:])


def draw(shown: dict[str, Tensor], config: Config) -> Path:
    """Digits side by side: held-out ones, and samples of each flow."""
    figure, axes = new_figure(1, len(shown), 2.4 * len(shown), 3.4)
    for axis, (name, images) in zip(axes[0], shown.items()):
        rows = torch.cat([torch.cat([*row], dim=1) for row in torch.nn.functional.pad(images, (1, 1, 1, 1))])
        axis.imshow(-rows.numpy(), cmap="gray")
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    return save_figure(figure, Path(config.out) / "digits.png", dpi=100)


def main(config: Config) -> None:
    """Train, print the table, draw the picture."""
    choose(config.flows, FLOWS)
    torch.set_num_threads(1)
    images, digits = load()
    seen, held_out = (images[:N_TRAIN], digits[:N_TRAIN]), (images[N_TRAIN:], digits[N_TRAIN:])
    own = torch.stack([held_out[0][held_out[1] == digit][:6, 0] for digit in range(N_CLASSES)])
    shown = {"held out": own}
    rows = [{"flow": "each pixel by itself", "bits": baseline(seen, held_out)}]
    for name in config.flows:
        flow, seconds = train(name, *seen, config)
        rows.append(
            {
                "flow": name,
                **evaluate(flow, *held_out, config.n_noise),
                "seen": evaluate(flow, *seen, 1)["bits"],
                "parameters": sum(p.numel() for p in flow.parameters()),
                "seconds": seconds,
            }
        )
        shown[name] = samples(flow, 6, config.temperature, config.seed)
    formats = {"bits": "{:.3f}", "seen": "{:.3f}", "told": "{:.1%}", "parameters": "{}", "seconds": "{:.0f}"}
    cells = [[row["flow"], *(f.format(row[key]) if key in row else "" for key, f in formats.items())] for row in rows]
    header = ["flow", "bits a pixel", "on digits it saw", "digits told", "parameters", "CPU s"]
    text = markdown(header, cells)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text)
    (out / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(text)
    print(draw(shown, config))


if __name__ == "__main__":
    launch(main, Config, Path(__file__).resolve().parent)
