"""Mels in files, as acoustic models leave them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from waveflow.audio.suffixes import MEL_SUFFIXES
from waveflow.files import replacing


def read_mel(path: str | os.PathLike[str]) -> Tensor:
    """Read a mel, or a batch of one, from a file of `MEL_SUFFIXES`; nothing in the file is executed.

    A file of several arrays must call one of them `mel`.

    Returns:
        Float32, `(n_mels, F)` unless the file holds another shape. Integers stay integers: they are no log-mel, and
        `check_mel` says so.

    Raises:
        ValueError: Not such a file, damaged, or no single array in it.
    """
    path = Path(path)
    if path.suffix.lower() not in MEL_SUFFIXES:
        raise ValueError(f"{path} is no mel file, expected one of {', '.join(MEL_SUFFIXES)}")
    try:
        content = _READERS[path.suffix.lower()](path)
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a mel: {reason}; write it anew, e.g. with `waveflow mel`"
        ) from error
    if isinstance(content, dict):
        if "mel" not in content and len(content) != 1:
            raise ValueError(f"{path} holds {sorted(content)}, expected one array or one called 'mel'")
        content = content["mel"] if "mel" in content else next(iter(content.values()))
    if not isinstance(content, Tensor):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an array")
    mel = content.squeeze(0) if content.dim() == 3 and content.shape[0] == 1 else content
    return mel.float() if mel.is_floating_point() else mel


def write_mel(path: str | os.PathLike[str], mel: Tensor) -> None:
    """Write a mel to a file of `MEL_SUFFIXES`, whole or not at all.

    Raises:
        ValueError: Another suffix.
    """
    import numpy as np
    from safetensors.torch import save

    path, mel = Path(path), mel.detach().cpu().contiguous()
    if path.suffix.lower() not in MEL_SUFFIXES:
        raise ValueError(f"cannot write a mel to {path}, expected one of {', '.join(MEL_SUFFIXES)}")
    writers = {
        ".npy": lambda file: np.save(file, mel.numpy()),
        ".npz": lambda file: np.savez(file, mel=mel.numpy()),
        ".pt": lambda file: torch.save(mel, file),
        ".pth": lambda file: torch.save(mel, file),
        ".safetensors": lambda file: file.write(save({"mel": mel})),
    }
    with replacing(path) as file:
        writers[path.suffix.lower()](file)


def _npy(path: Path) -> Tensor | dict[str, Tensor]:
    import numpy as np

    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return torch.from_numpy(content)
    with content:
        numeric = {name: content[name] for name in content.files if content[name].dtype.kind in "fiu"}
    return {name: torch.from_numpy(array) for name, array in numeric.items()}


def _pt(path: Path) -> Tensor | dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own words advise to execute what is in the file.
        raise ValueError("it is damaged, or holds other objects than tensors, which are not unpickled") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


_READERS = {".npy": _npy, ".npz": _npy, ".pt": _pt, ".pth": _pt, ".safetensors": _safetensors}
