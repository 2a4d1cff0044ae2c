"""What an inverse computes once everything linear is folded."""

from __future__ import annotations

from waveflow.inference.folding import fold, foldable
from waveflow.inference.fuse import fuse
from waveflow.inference.packed import is_narrow
from waveflow.models import MelFlow
from waveflow.models.cost import count_gmac


def folded_gmac(model: MelFlow) -> float:
    """Multiply-accumulates of the folded inverse, 1e9 a second of audio; as `fuse` leaves it where it cannot be folded.

    Convolutions count as they are written: an algorithm that needs fewer products for the same result gains by it.
    """
    if not foldable(model):
        return count_gmac(fuse(model))
    folded = fold(model)
    n_features = folded.upsampling.shape[2]
    a_position = 0
    for step in folded.steps:
        n_channels, half = step.start.shape
        for i, layer in enumerate(step.layers):
            # The taps of a first layer see a narrow x_a itself instead of what it is widened to.
            taps = half if i == 0 and is_narrow(step) else n_channels
            a_position += 2 * n_channels * (len(layer.taps) * taps + n_features) + layer.end.numel()
            a_position += 0 if layer.mix is None else layer.mix.numel()
        a_position += step.mix.numel() + n_channels * half
    if folded.encoder is not None:
        a_position += folded.encoder.n_products
    if folded.gain is not None:
        a_position += folded.gain[0].numel() + model.n_group**2
    return a_position * model.mel_config.sample_rate / model.n_group / 1e9
