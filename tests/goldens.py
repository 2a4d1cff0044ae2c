"""Reading the reference vectors beside the checkout, and measuring distance from them."""

import json

from conftest import shared
from safetensors import safe_open
from torch import Tensor

STATE = "state_dict."


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict]:
    """The reference's state dict, its inputs and outputs, and the metadata (`config` parsed), of one file."""
    with safe_open(shared(f"goldens/{name}.safetensors"), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, a handle and no dict
        metadata = dict(file.metadata())
    state = {key.removeprefix(STATE): value for key, value in tensors.items() if key.startswith(STATE)}
    rest = {key: value for key, value in tensors.items() if not key.startswith(STATE)}
    return state, rest, {**metadata, "config": json.loads(metadata["config"])}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of the reference."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach().double(), theirs.detach().double()
    return float((ours - theirs).abs().max() / theirs.abs().max())
