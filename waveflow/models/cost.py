"""What a model costs: parameters, operations per second of audio, and how far it sees."""

from __future__ import annotations

import torch
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from waveflow.models.base import MelFlow
from waveflow.nn.modules import parametrizations


def cost(model: MelFlow) -> dict[str, float | int | None]:
    """Measure a model; it is left as it was.

    Returns:
        parameters: Trained values, weight norm folded.
        gmac_per_second: Multiplications and additions of synthesis, 1e9 a second of audio.
        receptive_field: Samples on each side that can reach an output sample; None where there is no limit.
    """
    try:
        receptive_field = model.receptive_field
    except TypeError:
        receptive_field = None
    return {
        "parameters": count_parameters(model),
        "gmac_per_second": round(count_gmac(model), 3),
        "receptive_field": receptive_field,
    }


def count_parameters(model: MelFlow) -> int:
    """Trained values of a model, a weight-normed layer counting as the layer without."""
    total = sum(parameter.numel() for parameter in model.parameters())
    for module in model.modules():
        if parametrize.is_parametrized(module):
            for name, parametrization in parametrizations(module).items():
                held = sum(parameter.numel() for parameter in parametrization.parameters())
                total += getattr(module, name).numel() - held
    return total


@torch.no_grad()
def count_gmac(model: MelFlow) -> float:
    """Multiply-accumulates of synthesis, 1e9 a second of audio.

    Convolutions, linear layers and matrix products are counted as a run of the model on silence meets them; what
    does not grow with the length, such as inverting a matrix, is left out. With an adaptive solver the number depends
    on the weights.
    """
    training = model.training
    try:
        model.eval()
        in_a_frame = _operations(model, 2) - _operations(model, 1)
    finally:
        model.train(training)
    mel = model.mel_config
    # The counter takes a multiplication and its addition for two.
    return in_a_frame / 2 * mel.sample_rate / mel.hop_length / 1e9


def _operations(model: MelFlow, n_frames: int) -> int:
    like, config = next(model.parameters()), model.mel_config
    latent = like.new_zeros(1, n_frames * config.hop_length)
    mel = like.new_full((1, config.n_mels, n_frames), config.floor)
    with FlopCounterMode(display=False) as counter:
        model.inverse(latent, mel)
    return counter.get_total_flops()
