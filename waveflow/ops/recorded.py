"""Where kernels were tested on a GPU: JSON files of the package, one a device, written by scripts/gpu/parity.py.

A kernel that is compiled here for a device nobody tried is not taken unasked.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import torch

from waveflow.ops.tuning import slug

FOLDER = Path(__file__).resolve().parent / "parity"


def versions() -> dict[str, str]:
    """What a result counts for: other versions are other programs.

    Raises:
        ModuleNotFoundError: The CUDA extension is not built.
    """
    extension = importlib.import_module("waveflow_cuda")
    return {"torch": torch.__version__, "waveflow_cuda": extension.__version__}


def record(device_name: str, kept: list[str], folder: Path | None = None) -> Path:
    """Store for which precisions, `float16` or `bfloat16`, the CUDA kernels kept their bounds on a device."""
    path = (folder or FOLDER) / f"{slug(device_name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**versions(), "kept": sorted(kept)}) + "\n")
    return path


def unproved(device_name: str, dtype: torch.dtype) -> str | None:
    """Why the CUDA kernels are not taken unasked on a device, with the remedy; None where they are."""
    path = FOLDER / f"{slug(device_name)}.json"
    remedy = "run `python scripts/gpu/parity.py --backend cuda` there, or ask for backend='cuda'"
    if not path.exists():
        return f"they have not been tested on {device_name}; {remedy}"
    found = json.loads(path.read_text())
    if any(found.get(name) != version for name, version in versions().items()):
        return f"they have not been tested on {device_name} with {versions()}; {remedy}"
    if str(dtype).removeprefix("torch.") not in found["kept"]:
        return f"they did not keep their bounds in {dtype} on {device_name}; {remedy}"
    return None
