"""Finding models and making vocoders of them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from waveflow.checkpoints import apply_adapter, native
from waveflow.inference.vocoder import Vocoder
from waveflow.nn import low_rank

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
DEFAULT_MODEL = "lapglow"


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str | None = None,
    backend: str = "auto",
    adapter: str | os.PathLike[str] | None = None,
) -> Vocoder:
    """Load a vocoder.

    Args:
        name_or_path: A bundled model's name; a directory with `config.json` and `model.safetensors`; or the folder of
            a training run, of which it is `model/`, and `best/` until there is one. The bundled LapGlow unless given.
        device: Where to run; `auto` is a GPU if there is one.
        dtype: Precision of synthesis or its name: float32 unless given, bfloat16, float16 or float64. Likelihoods are
            always computed in float32.
        backend: Who computes the inverse: `reference` (plain PyTorch), `compile` (torch.compile), `triton` and `cuda`
            (kernels of a GPU), `onednn` (the CPU's), or `auto`, which takes the fastest that agrees with the reference.
        adapter: A voice on top of the model: the `adapter.safetensors` of `waveflow finetune --adapter`. It is merged
            into the weights, so that synthesis costs nothing more and `vocoder.save` writes a whole model.

    Raises:
        ValueError: No such model, a file that must be converted first, an adapter made for another base, no such
            precision or backend, a backend that knows no such model or precision, or no device.
        RuntimeError: The device or the backend asked for cannot be used here; the message says why.
    """
    path = find_checkpoint(name_or_path)
    model = native.load(path)
    if adapter is not None:
        apply_adapter(model, adapter, str(path))
        low_rank.merge(model)
    name = path.name if adapter is None else f"{path.name} + {Path(adapter).stem}"
    return Vocoder(model, device=device, dtype=dtype, backend=backend, name=name)


def bundled_models() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def find_checkpoint(name_or_path: str | os.PathLike[str] | None) -> Path:
    """The directory of a bundled model, of a checkpoint or of a run's model, or an error that says what to do.

    Args:
        name_or_path: As for `load`.

    Raises:
        ValueError: There is no such model or directory, or it is a file that must be converted first.
    """
    name = DEFAULT_MODEL if name_or_path is None else os.fspath(name_or_path)
    path = Path(name)
    if path.is_dir():
        return native.checkpoint_in(path)
    if path.is_file():
        raise ValueError(
            f"{name} is a file, expected a directory with config.json and model.safetensors; "
            f"write one with `waveflow convert {name} DIRECTORY`"
        )
    if (PRETRAINED / name / "config.json").is_file():
        return PRETRAINED / name
    raise ValueError(f"no model {name!r}: there is no such directory, and the bundled models are {bundled_models()}")
