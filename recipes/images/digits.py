"""The handwritten digits of scikit-learn as images with a likelihood: whole levels, noise, and a baseline."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import AffineTransform, ComposeTransform, SigmoidTransform, Transform

SHAPE = (1, 8, 8)
N_PIXELS = 64
N_LEVELS = 17
N_CLASSES = 10
N_TRAIN = 1500
MARGIN = 0.05
"""The interval that the sigmoid covers is so much longer than that of pixels, half of it at either end."""


def load(seed: int = 0) -> tuple[Tensor, Tensor]:
    """All images `(1797, 1, 8, 8)`, whole levels 0 to 16, and their digits `(1797,)`; shuffled."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.data), generator=torch.Generator().manual_seed(seed))
    images = torch.tensor(found.images, dtype=torch.float32)[:, None]
    return images[order], torch.tensor(found.target)[order]


def dequantize(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Levels as numbers between 0 and 1, with uniform noise of one level (arXiv:1511.01844)."""
    return (images + torch.rand(images.shape, generator=generator)) / N_LEVELS


def levels(x: Tensor) -> Tensor:
    """Undo `dequantize`."""
    return (x * N_LEVELS).floor().clamp(0, N_LEVELS - 1)


def pixels() -> Transform:
    """From unbounded numbers to pixels between 0 and 1.

    Source: the logit of RealNVP (arXiv:1605.08803), section 4.1, which keeps away from 0 alone.
    """
    return ComposeTransform([SigmoidTransform(), AffineTransform(-MARGIN / 2, 1 + MARGIN)])


def one_hot(digits: Tensor) -> Tensor:
    """What the flow is told: `(B, 10)`."""
    return F.one_hot(digits, N_CLASSES).float()


def bits_per_dimension(log_prob: Tensor) -> Tensor:
    """Bits a pixel that whole levels cost, from log-densities of dequantized images between 0 and 1."""
    return math.log2(N_LEVELS) - log_prob / (N_PIXELS * math.log(2))


def baseline(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Bits a pixel where each pixel is coded by itself: how often each level came, for this place and this digit."""
    images, digits = train
    counts = torch.zeros(N_CLASSES, N_PIXELS, N_LEVELS)
    for digit in range(N_CLASSES):
        counts[digit] = F.one_hot(images[digits == digit].flatten(1).long(), N_LEVELS).sum(0)
    # A tenth of a count more for every level, which of halves, ones and tenths codes held-out digits best.
    chances = (counts + 0.1) / (counts + 0.1).sum(-1, keepdim=True)
    images, digits = test
    found = chances[digits].gather(-1, images.flatten(1).long()[..., None])
    return -found.log2().mean().item()
