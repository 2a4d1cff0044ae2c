"""Small models of every kind that sees within limits, for tests of streams; other processes import it, too."""

import torch
from small_models import SMALL, moved

from waveflow.inference import Stream
from waveflow.models import build
from waveflow.nn.separable import MaskedBatchNorm

FINITE = {
    **SMALL,
    "waveglow-swapped": {**SMALL["waveglow"], "swap_halves": True, "upsample_kernel_size": 300},
    "squeezewave": {"n_group": 128, "n_flows": 4, "n_channels": 8, "n_layers": 2, "n_early_every": 2},
    "squeezewave-plain": {"n_group": 256, "n_flows": 2, "n_channels": 8, "n_layers": 2, "batch_norm": False},
    "flowavenet": {"mel": "nvidia", "n_blocks": 4, "n_flows": 3, "n_channels": 4, "n_blocks_per_split": 2},
    "flowavenet-additive": {"mel": "nvidia", "n_blocks": 3, "n_flows": 2, "n_channels": 4, "affine": False},
    "waveflow": {"n_flows": 2, "n_group": 4, "n_channels": 4, "n_layers": 2},
    "wavenode": {"factors": [4, 4], "n_layers": 1, "n_channels": 4, "synthesis_solver": "euler", "synthesis_steps": 1},
}


def random_model(name):
    torch.manual_seed(1)
    model = moved(build(name.split("-")[0], **FINITE[name]))
    for module in model.modules():
        if isinstance(module, MaskedBatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def random_mel(n_frames):
    return torch.randn(80, n_frames, generator=torch.Generator().manual_seed(n_frames)) - 5


def rest(stream, mel):
    """The audio from frame 23 on, of a stream that knows the frames before."""
    return torch.cat([stream.push(mel[:, 23:]), stream.finish()])


def rest_elsewhere(vocoder, state, mel, options):
    stream = Stream(vocoder, seed=2, **options)
    stream.state = state
    return rest(stream, mel).numpy()
