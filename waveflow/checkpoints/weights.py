"""Taking a foreign state dict apart, key by key, until nothing is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from waveflow.audio.mel import MelConfig
from waveflow.checkpoints.errors import CheckpointError, some
from waveflow.models import MelFlow, build

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_LENGTH = ("weight_g", "parametrizations.weight.original0")
_DIRECTION = ("weight_v", "parametrizations.weight.original1")


@dataclass
class Found:
    """What a foreign state dict turned out to be.

    Attributes:
        model: The registry's name of the model.
        config: Fields of the model's config that the shapes tell; the mel contract is not among them.
        n_mels: Bands of the mel.
        weights: State dict of our model, float32 or better.
        weight_norm: Whether the file has directions and lengths rather than weights.
        dtype: Precision of the weights in the file.
        assumed: Fields of `config` that no shape tells.
        mel_preset: The mel contract of the project.
        generation: 1 to 3, of NVIDIA's key names.
    """

    model: str
    config: dict[str, Any]
    n_mels: int
    weights: dict[str, Tensor]
    weight_norm: bool
    dtype: torch.dtype
    assumed: tuple[str, ...] = ()
    mel_preset: str = "nvidia"
    generation: int | None = None

    def build(self, mel: MelConfig, **changes: Any) -> MelFlow:
        """The model, in eval mode.

        Args:
            mel: The mel contract.
            changes: Of its config.

        Raises:
            CheckpointError: No such model exists.
        """
        try:
            model = build(self.model, **{**self.config, "mel": mel, **changes})
            model.load_state_dict(self.weights)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"the weights make no {self.model}: {error}") from error
        return model.eval()


@dataclass(frozen=True)
class Convolution:
    """The weights of a convolution or linear layer: direction and length of each output row, and its bias.

    length: `(C, 1, ...)`, None where `direction` is the weight itself.
    direction: `(C, ...)`.
    bias: `(C,)` or None.
    """

    length: Tensor | None
    direction: Tensor
    bias: Tensor | None

    @property
    def weight(self) -> Tensor:
        """The weight that the convolution uses."""
        return self.direction if self.length is None else torch._weight_norm(self.direction, self.length, 0)

    def rows(self, index: slice | Sequence[int]) -> Convolution:
        """Some of its outputs, or all of them in another order."""
        length = None if self.length is None else self.length[index]
        return Convolution(length, self.direction[index], None if self.bias is None else self.bias[index])

    def swapped(self) -> Convolution:
        """The second half of the outputs before the first."""
        half = len(self.direction) // 2
        return stack([self.rows(slice(half, None)), self.rows(slice(half))])

    def under(self, name: str, *, weight_norm: bool) -> dict[str, Tensor]:
        """State-dict entries of our convolution `name`."""
        bias = {} if self.bias is None else {f"{name}.bias": self.bias}
        if not weight_norm:
            return {f"{name}.weight": self.weight, **bias}
        length, direction = self.length, self.direction
        if length is None:
            length = torch.norm_except_dim(direction, 2, 0)
            # A row of zeros has no direction; any will do with length 0.
            direction = torch.where(length == 0, torch.ones_like(direction), direction)
        stem = f"{name}.parametrizations.weight.original"
        return {f"{stem}0": length, f"{stem}1": direction, **bias}


def stack(convolutions: Sequence[Convolution]) -> Convolution:
    """One convolution with the outputs of several over the same input, all with a bias or all without.

    Weight norm is by row, so that nothing is rounded.
    """
    lengths = [c.length for c in convolutions if c.length is not None]
    if 0 < len(lengths) < len(convolutions):
        convolutions = [replace(c, length=None, direction=c.weight) for c in convolutions]
        lengths = []
    biases = [c.bias for c in convolutions if c.bias is not None]
    assert len(biases) in (0, len(convolutions))
    return Convolution(
        torch.cat(lengths) if lengths else None,
        torch.cat([c.direction for c in convolutions]),
        torch.cat(biases) if biases else None,
    )


class ForeignWeights:
    """A state dict from which a converter takes what it knows; what it does not know is an error.

    Args:
        tensors: The state dict, without the prefix of a wrapper; None of its values is changed.
        name: What to call the file in errors.
        model: What to call the model in errors.
    """

    def __init__(self, tensors: dict[str, Tensor], name: str, model: str) -> None:
        self.name, self.model = name, model
        self._left = dict(tensors)
        self.weight_norm = any(key.endswith(_LENGTH) for key in tensors)
        self.dtype = next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)

    def __contains__(self, key: str) -> bool:
        return key in self._left or any(f"{key}.{leaf}" in self._left for leaf in ("weight", *_DIRECTION))

    def count(self, stem: str) -> int:
        """How many `stem0`, `stem1`, ... there are.

        Raises:
            CheckpointError: None, or one is missing in between.
        """
        pattern = re.compile(re.escape(stem) + r"(\d{1,4})\.")
        found = {int(match[1]) for key in self._left if (match := pattern.match(key))}
        if missing := set(range(max(found, default=0) + 1)) - found:
            raise self._missing(f"{stem}{min(missing)}")
        return len(found)

    def shape(self, key: str) -> tuple[int, ...]:
        """Of the weight of a convolution or linear layer, two dimensions or more.

        Raises:
            CheckpointError: There is no such weight, it was taken already, or it has fewer dimensions.
        """
        for leaf in ("weight", *_DIRECTION):
            if f"{key}.{leaf}" in self._left:
                shape = tuple(self._left[f"{key}.{leaf}"].shape)
                if len(shape) < 2:
                    raise CheckpointError(
                        f"{self.name} has {key}.{leaf} of shape {shape}, expected the weight of a convolution; "
                        "it is another model, or damaged"
                    )
                return shape
        raise self._missing(f"{key}.weight")

    def tensor(self, key: str, shape: Iterable[int]) -> Tensor:
        """Take one tensor, finite and of a given shape, in float32 or better.

        Raises:
            CheckpointError: It is missing, of another shape, not of floating point, or not finite.
        """
        if key not in self._left:
            raise self._missing(key)
        value, shape = self._left.pop(key), tuple(shape)
        if tuple(value.shape) != shape:
            raise CheckpointError(
                f"{self.name} has {key} of shape {tuple(value.shape)}, the other shapes call for {shape}; "
                "it is another model, or damaged"
            )
        if value.dtype not in _FLOATS:
            raise CheckpointError(
                f"{self.name} has {key} of type {value.dtype}, expected one of {_FLOATS}; save it in float32"
            )
        if not value.isfinite().all():
            raise CheckpointError(f"{self.name} has NaN or infinite values in {key}; find a sound checkpoint")
        return value.to(torch.promote_types(value.dtype, torch.float32))

    def convolution(self, key: str, shape: Iterable[int], *, bias: bool = True) -> Convolution:
        """Take a convolution whose weight has a given shape, weight-normed in either form or plain.

        Raises:
            CheckpointError: It is missing, of another shape, or there in two forms.
        """
        shape = tuple(shape)
        forms = (("weight",), *zip(_LENGTH, _DIRECTION))
        found = [f"{key}.{leaf}" for form in forms for leaf in form if f"{key}.{leaf}" in self._left]
        if sum(any(f"{key}.{leaf}" in found for leaf in form) for form in forms) > 1:
            raise CheckpointError(
                f"{self.name} has the weight of {key} in two forms, {some(found)}; keep one, or save it again"
            )
        for length_leaf, direction_leaf in forms[1:]:
            if f"{key}.{length_leaf}" in found or f"{key}.{direction_leaf}" in found:
                length = self.tensor(f"{key}.{length_leaf}", (shape[0], *[1] * (len(shape) - 1)))
                direction = self.tensor(f"{key}.{direction_leaf}", shape)
                break
        else:
            length, direction = None, self.tensor(f"{key}.weight", shape)
        return Convolution(length, direction, self.tensor(f"{key}.bias", shape[:1]) if bias else None)

    def counter(self, key: str) -> Tensor:
        """Take a whole number; 0 where there is none, as in files of old torch.

        Raises:
            CheckpointError: It is no whole number.
        """
        value = self._left.pop(key, torch.tensor(0))
        if value.dim() or value.is_floating_point():
            raise CheckpointError(
                f"{self.name} has {key} of shape {tuple(value.shape)} and type {value.dtype}, expected a whole "
                "number; it is another model, or damaged"
            )
        return value.to(torch.int64)

    def finish(self) -> None:
        """Raises:
        CheckpointError: Something was not taken.
        """
        if self._left:
            raise CheckpointError(
                f"{self.name} has {some(self._left)}, which {self.model} has not; it is another model"
            )

    def _missing(self, key: str) -> CheckpointError:
        return CheckpointError(f"{self.name} lacks {key}, which {self.model} has; get the whole file")


def without_prefix(tensors: dict[str, Tensor], anchor: str, name: str) -> dict[str, Tensor]:
    """Take off what comes before `anchor`, the ending of exactly one key, and before every other key.

    Raises:
        CheckpointError: There is not exactly one such key, or another key has another prefix.
    """
    found = [key for key in tensors if key == anchor or key.endswith(f".{anchor}")]
    if len(found) != 1:
        raise CheckpointError(f"{name} has {len(found)} keys that end in {anchor}, expected one; save the model alone")
    prefix = found[0].removesuffix(anchor)
    if others := [key for key in tensors if not key.startswith(prefix)]:
        raise CheckpointError(f"{name} has {some(others)} beside {found[0]}; save the model alone")
    return {key.removeprefix(prefix): value for key, value in tensors.items()}
