"""Bounds that several tests share, each with its reason."""

import torch

ROUND_TRIP = {
    # A few hundred operations, each off by one unit in the last place, through maps that stretch up to 100 times.
    torch.float64: 1e-10,
    torch.float32: 1e-4,
}

LOG_DET = {
    # The same, summed over the values of an item.
    torch.float64: 1e-9,
    torch.float32: 1e-3,
}

PADDING = 1e-12
"""Batched against alone in float64: the same arithmetic, in an order that the matrix product may choose."""

ZUKO = 1e-5
"""Log-probability against zuko with shared weights: the bound that was promised."""
