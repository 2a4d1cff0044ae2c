"""What a vocoder is given, checked and brought to its device."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

import torch
from torch import Tensor

from waveflow.audio.mel_check import check_mel
from waveflow.audio.mel_config import MelConfig


def require_tensor(name: str, value: object) -> None:
    """Refuse arrays and lists.

    Raises:
        ValueError: It is no tensor.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}, expected a torch tensor; use torch.as_tensor")


def batch_of_audio(audio: Tensor, device: torch.device) -> Tensor:
    """Audio `(B, T)` or `(T,)` as `(B, T)`, float32.

    Raises:
        ValueError: It is not finite floating point of such a shape.
    """
    require_tensor("audio", audio)
    if not audio.is_floating_point() or audio.dim() not in (1, 2) or not torch.isfinite(audio).all():
        raise ValueError(
            f"audio is {audio.dtype} of shape {tuple(audio.shape)}, expected finite floating point (B, T) or (T,), "
            "full scale ±1; read files with waveflow.audio.io.read"
        )
    return torch.atleast_2d(audio).to(device, torch.float32)


def mels_for(batch: Tensor, mel: Tensor, config: MelConfig) -> Tensor:
    """The mels `(B, n_mels, F)` of a batch of audio or latents `(B, T)`, float32: one each, or one for all.

    Raises:
        ValueError: The mel is against the contract, or there are more or fewer than items.
    """
    check_mel(mel, config)
    mels = (mel if mel.dim() == 3 else mel[None]).to(batch.device, torch.float32)
    if len(mels) not in (1, len(batch)):
        raise ValueError(
            f"audio or latent {tuple(batch.shape)} was given with mels {tuple(mels.shape)}, expected one mel for all "
            "items or one each; pass as many mels as items"
        )
    return mels.expand(len(batch), -1, -1)


def check_settings(sigma: float | None, denoise: float, project: int) -> None:
    """Refuse settings out of range.

    Raises:
        ValueError: One is no finite number, or below 0, or the rounds are not whole.
    """
    for name, value in (("sigma", sigma), ("denoise", denoise), ("project", project)):
        if value is not None and not (isinstance(value, Real) and 0 <= value < float("inf")):
            raise ValueError(f"{name} is {value!r}, expected a number of at least 0")
    if not isinstance(project, Integral):
        raise ValueError(f"project is {project!r}, expected a whole number of rounds")


def check_lengths(lengths: Tensor | Iterable[int] | None, mel: Tensor) -> Tensor | None:
    """The frames `(B,)` of each item of a padded batch `(B, n_mels, F)`, on its device.

    Raises:
        ValueError: They are not one whole number for each item, 1 to F.
    """
    if lengths is None:
        return None
    frames = torch.as_tensor(lengths, device=mel.device)
    if frames.is_floating_point() or frames.shape != mel.shape[:1]:
        raise ValueError(
            f"lengths has shape {tuple(frames.shape)} and type {frames.dtype}, expected one whole number of frames "
            f"for each of {mel.shape[0]} items"
        )
    if frames.min() < 1 or frames.max() > mel.shape[-1]:
        raise ValueError(
            f"lengths run from {frames.min()} to {frames.max()} frames, expected 1 to {mel.shape[-1]}, the mel's"
        )
    return frames
