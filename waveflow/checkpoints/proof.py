"""Evidence that a flow is one: that it inverts, and that its log-determinant is that of its Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from waveflow.audio.mel import MelSpectrogram
from waveflow.bijections import InvertibleConv1x1
from waveflow.checkpoints.errors import CheckpointError
from waveflow.models import MelFlow

# In float64 what is left after a round trip is rounding times the condition of the weights: more is another
# map.
MAX_ERROR_FLOAT64 = 1e-7
# A model may be a flow and yet lose its input in single precision: that is told, and only overflow is refused.
MAX_ERROR_FLOAT32 = torch.finfo(torch.float32).max
USUAL_ERROR_FLOAT32 = 1e-3
MAX_JACOBIAN_ERROR = 1e-6
MAX_CONDITION = 1e8


@dataclass
class Proof:
    """What was measured.

    Attributes:
        n_samples: Length of the audio.
        round_trip_float64: Largest difference of audio and its inverse, full scale ±1.
        round_trip_float32: The same in single precision.
        log_det: Of the audio, nats.
        jacobian_error: `|log_det - log |det J||` over its size, J by autograd on the first `2 * n_group`
            samples.
        worst_condition: Of the 1x1 convolutions, largest over smallest singular value.
    """

    n_samples: int
    round_trip_float64: float
    round_trip_float32: float
    log_det: float
    jacobian_error: float
    worst_condition: float


def prove(model: MelFlow, n_frames: int = 8) -> Proof:
    """Measure a model on modulated noise and its mel; the model is left as it was.

    Args:
        model: On the CPU.
        n_frames: Length of the audio, in mel frames.

    Raises:
        CheckpointError: A 1x1 convolution is singular, the round trip does not close, or log_det is not that
            of the Jacobian.
    """
    dtype = next(model.parameters()).dtype
    condition = _worst_condition(model)
    audio, mel = _example(model, n_frames)
    try:
        model.double()
        error64, log_det = _round_trip(model, audio, mel)
        jacobian_error = _jacobian_error(model, audio[:, : 2 * model.n_group], mel)
        model.float()
        error32, _ = _round_trip(model, audio.float(), mel.float())
    finally:
        model.to(dtype)
    proof = Proof(audio.shape[1], error64, error32, log_det, jacobian_error, condition)
    for what, value, bound in (
        ("audio changes by {} in a round trip in float64", error64, MAX_ERROR_FLOAT64),
        ("audio changes by {} in a round trip in float32", error32, MAX_ERROR_FLOAT32),
        ("log_det is off by {} of its size", jacobian_error, MAX_JACOBIAN_ERROR),
    ):
        if not value <= bound:
            raise CheckpointError(
                f"this is no usable flow: {what.format(f'{value:.1e}')}, expected at most {bound:.0e}; "
                "the weights are damaged, of another model, or diverged in training"
            )
    return proof


def _example(model: MelFlow, n_frames: int) -> tuple[Tensor, Tensor]:
    config = model.mel_config
    n_samples = n_frames * config.hop_length
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, n_samples, generator=generator, dtype=torch.float64)
    audio = 0.1 * noise * torch.linspace(0, 3 * torch.pi, n_samples, dtype=torch.float64).sin()
    return audio, MelSpectrogram(config)(audio)


def _worst_condition(model: MelFlow) -> float:
    worst = 1.0
    for name, module in model.named_modules():
        if isinstance(module, InvertibleConv1x1):
            singular = torch.linalg.svdvals(module.matrix().detach().double())
            condition = float(singular[0] / singular[-1])
            if not condition <= MAX_CONDITION:
                raise CheckpointError(
                    f"the 1x1 convolution {name} is singular: its condition is {condition:.1e}, "
                    f"at most {MAX_CONDITION:.0e} can be inverted; it is damaged or diverged"
                )
            worst = max(worst, condition)
    return worst


@torch.no_grad()
def _round_trip(model: MelFlow, audio: Tensor, mel: Tensor) -> tuple[float, float]:
    z, log_det = model(audio, mel)
    back, back_log_det = model.inverse_and_log_det(z, mel)
    difference = (back - audio).abs().max()
    difference = torch.maximum(difference, ((log_det + back_log_det) / log_det.abs().clamp_min(1)).abs().max())
    return float(difference), float(log_det)


def _jacobian_error(model: MelFlow, audio: Tensor, mel: Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x, mel)[0], audio)
    expected = torch.linalg.slogdet(jacobian[0, :, 0]).logabsdet
    with torch.no_grad():
        log_det = model(audio, mel)[1][0]
    return float((log_det - expected).abs() / expected.abs().clamp_min(1))
