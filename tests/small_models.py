"""Small models with random weights, for tests of what is built on models."""

import torch

from waveflow.models import build

SMALL = {
    "lapglow": {"n_flows": 2, "n_channels": 16, "dilations": [1, 2], "n_encoded": 24, "n_encoder_blocks": 2},
    "lapglow-raw": {"n_flows": 2, "n_channels": 16, "dilations": [1, 2], "n_encoded": 0},
    "waveglow": {"n_flows": 4, "n_channels": 8, "n_layers": 2, "n_early_every": 2},
}


def small(name):
    """A model with random weights that use everything."""
    torch.manual_seed(1)
    return moved(build(name.split("-")[0], **SMALL[name]))


def moved(model):
    """A model with every weight moved away from where it starts: a fresh coupling would be the identity."""
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model
