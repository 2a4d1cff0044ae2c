"""Bounds that several tests share, each with its reason."""

import torch

ROUND_TRIP = {
    # A few hundred operations, each off by a unit in the last place, through maps that stretch a hundredfold.
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

PIECES = 1e-5
"""A piece against the whole in float32, over the loudest sample, which random weights make up to 30: sums in the order
that a matrix product of another length, on other threads, chooses."""

ZUKO = 1e-5
"""Log-probability against zuko with shared weights: the bound that was promised."""

GOLDEN_WAVEGLOW = {
    # Largest difference over largest value. The reference's own float32 error is at most 3.3e-7 in these, and
    # a sum in another order is of that size; the goldens' README asks for 1e-5.
    "z": 1e-5,
    "log_s": 1e-5,
    "log_det_W": 1e-5,
    "loss": 1e-5,
    "audio": 1e-5,
    # Gradients cancel more: the reference's own error is up to 5.5e-6.
    "gradient": 5e-5,
}

GOLDEN_SQUEEZEWAVE = {
    # The reference's own float32 error: 2.5e-7 in z and log_s, 3.4e-6 in log_det_W, 2.7e-6 in audio.
    "z": 1e-5,
    "log_s": 1e-5,
    "log_det_W": 5e-5,
    "loss": 1e-5,
    "audio": 5e-5,
    "gradient": 5e-5,
    "grad_norm": 1e-4,
    "statistics": 1e-5,
}

GOLDEN_WAVEFLOW = {
    # The reference's own float32 error is at most 4.4e-7 in each.
    "z": 1e-5,
    "log_s": 1e-5,
    "log_det": 1e-5,
    "loss": 1e-5,
    "audio": 1e-5,
    "gradient": 5e-5,
    "grad_norm": 1e-4,
}

GOLDEN_FLOWAVENET = {
    # The reference's own float32 error is at most 3.1e-7 in each.
    "z": 1e-5,
    "log_density": 1e-5,
    "audio": 1e-5,
    "actnorm": 1e-5,
    "gradient": 5e-5,
    "grad_norm": 1e-4,
}
