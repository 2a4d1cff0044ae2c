"""NVIDIA's WaveGlow: from its names, in every generation, to ours and back.

Names of NVIDIA/waveglow, `k` a flow and `i` a layer of its WaveNet:

    upsample    convinv.k.conv    WN.k.start    WN.k.in_layers.i    WN.k.cond_layer    WN.k.res_skip_layers.i
      WN.k.end

The first generation has `res_layers.i` and `skip_layers.i` in place of `res_skip_layers.i`; the first two,
and DeepLearningExamples to this day, have `cond_layers.i` in place of the joint `cond_layer`. Joining stacks
rows, so that nothing is rounded. Weight norm may be there as `weight_g` and `weight_v`, as torch's
parametrization, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from waveflow.checkpoints.errors import CheckpointError
from waveflow.models import WaveGlow

Convolution = dict[str, Tensor]
"""Parts of a convolution: `bias`, and either `weight` or `g` and `v`."""

_LEAVES = {
    "parametrizations.weight.original0": "g",
    "parametrizations.weight.original1": "v",
    "weight_g": "g",
    "weight_v": "v",
    "weight": "weight",
    "bias": "bias",
}


@dataclass
class FoundWaveGlow:
    """What a foreign state dict turned out to be.

    Attributes:
        config: Fields of `WaveGlowConfig` that shapes tell, and `n_mels`.
        weights: State dict of our `WaveGlow`, float32 or better.
        generation: 1 to 3, by the names of the WaveNets' layers.
        weight_norm: Whether the file has directions and lengths rather than weights.
        dtype: Precision of the weights in the file.
    """

    config: dict[str, int]
    weights: dict[str, Tensor]
    generation: int
    weight_norm: bool
    dtype: torch.dtype


def read_waveglow(tensors: dict[str, Tensor], name: str) -> FoundWaveGlow:
    """Understand a state dict of any generation, under any prefix.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, or a value is not
            finite.
    """
    convolutions = _group(_strip_prefix(tensors, name), name)
    n_flows = _count(convolutions, "convinv.", name)
    n_layers = _count(convolutions, "WN.0.in_layers.", name)
    generation = _join_generations(convolutions, n_flows, n_layers, name)
    config = _infer(convolutions, n_flows, n_layers, name)
    weights: dict[str, Tensor] = {}
    normed = False
    for theirs, ours, shape, is_normed in _layout(config):
        found = convolutions.pop(theirs, {})
        _check(found, theirs, shape, has_bias=not theirs.startswith("convinv."), name=name)
        found = {part: value.to(torch.promote_types(value.dtype, torch.float32)) for part, value in found.items()}
        normed |= "g" in found
        weights.update(_named(found, ours, is_normed))
    if convolutions:
        raise CheckpointError(f"{name} has {_some(convolutions)}, which WaveGlow has not; it is another model")
    return FoundWaveGlow(config, weights, generation, normed, next(iter(tensors.values())).dtype)


def to_nvidia_state_dict(model: WaveGlow) -> dict[str, Tensor]:
    """A model's weights under NVIDIA's names of the third generation, with `weight_g` and `weight_v`."""
    ours, theirs = model.state_dict(), {}
    for their_name, our_name, _, is_normed in _layout(_config_of(model)):
        if is_normed:
            theirs[f"{their_name}.weight_g"] = ours[f"{our_name}.parametrizations.weight.original0"]
            theirs[f"{their_name}.weight_v"] = ours[f"{our_name}.parametrizations.weight.original1"]
        else:
            weight = ours[f"{our_name}.weight"]
            theirs[f"{their_name}.weight"] = weight[..., None] if weight.dim() == 2 else weight
        if f"{our_name}.bias" in ours:
            theirs[f"{their_name}.bias"] = ours[f"{our_name}.bias"]
    return theirs


def _strip_prefix(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    anchors = [key for key in tensors if key == "upsample.weight" or key.endswith(".upsample.weight")]
    if len(anchors) != 1:
        what = "two models" if anchors else "no WaveGlow"
        raise CheckpointError(
            f"{name} is {what}: expected one upsample.weight, found {len(anchors)} among {_some(tensors)}; "
            "SqueezeWave, FloWaveNet and WaveFlow can be converted too, but have other names"
        )
    prefix = anchors[0].removesuffix("upsample.weight")
    if others := [key for key in tensors if not key.startswith(prefix)]:
        raise CheckpointError(f"{name} has {_some(others)} beside {prefix}upsample.weight; save the WaveGlow alone")
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def _group(tensors: dict[str, Tensor], name: str) -> dict[str, Convolution]:
    convolutions: dict[str, Convolution] = {}
    for key, value in tensors.items():
        leaf = next((leaf for leaf in _LEAVES if key.endswith(f".{leaf}")), None)
        if leaf is None:
            raise CheckpointError(f"{name} has {key!r}, which WaveGlow has not; it is another model")
        parts = convolutions.setdefault(key.removesuffix(f".{leaf}"), {})
        if _LEAVES[leaf] in parts:
            raise CheckpointError(f"{name} has the weight norm of {key!r} twice, in two forms; keep one")
        if not value.is_floating_point() or not value.isfinite().all():
            raise CheckpointError(f"{name} has NaN, infinite or integer values in {key!r}; find a sound checkpoint")
        parts[_LEAVES[leaf]] = value
    return convolutions


def _count(convolutions: dict[str, Convolution], stem: str, name: str) -> int:
    found = {int(m[1]) for key in convolutions if (m := re.fullmatch(re.escape(stem) + r"(\d{1,4})(\..*)?", key))}
    if missing := set(range(max(found, default=0) + 1)) - found:
        raise CheckpointError(f"{name} lacks {stem}{min(missing)}; get the whole file")
    return len(found)


def _join_generations(convolutions: dict[str, Convolution], n_flows: int, n_layers: int, name: str) -> int:
    """Give the first two generations the names of the third; tells which it was."""
    split = any(".skip_layers." in key for key in convolutions)
    by_layer = any(".cond_layers." in key for key in convolutions)
    for wn in (f"WN.{k}" for k in range(n_flows)):
        if by_layer:
            parts = [f"{wn}.cond_layers.{i}" for i in range(n_layers)]
            convolutions[f"{wn}.cond_layer"] = _joined(convolutions, parts, name)
        if split:
            for i in range(n_layers):
                parts = [f"{wn}.res_layers.{i}"] if i < n_layers - 1 else []
                parts.append(f"{wn}.skip_layers.{i}")
                convolutions[f"{wn}.res_skip_layers.{i}"] = _joined(convolutions, parts, name)
    return 1 if split else 2 if by_layer else 3


def _joined(convolutions: dict[str, Convolution], keys: list[str], name: str) -> Convolution:
    if missing := [key for key in keys if key not in convolutions]:
        raise CheckpointError(f"{name} lacks {_some(missing)}; get the whole file")
    parts = [convolutions.pop(key) for key in keys]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise CheckpointError(f"{name} has weight norm or bias in some of {_some(keys)} only; get the whole file")
    try:
        return {leaf: torch.cat([part[leaf] for part in parts]) for leaf in parts[0]}
    except RuntimeError as error:
        raise CheckpointError(f"{name} has shapes in {_some(keys)} that do not fit: {error}") from error


def _infer(convolutions: dict[str, Convolution], n_flows: int, n_layers: int, name: str) -> dict[str, int]:
    def shape(key: str) -> tuple[int, ...]:
        parts = convolutions.get(key, {})
        weight = parts.get("weight", parts.get("v"))
        if weight is None or weight.dim() != 3:
            raise CheckpointError(f"{name} lacks {key}.weight, or it has not 3 dimensions; get the whole file")
        return tuple(weight.shape)

    widths = [shape(f"convinv.{k}.conv")[0] for k in range(n_flows)]
    drops = [k for k in range(1, n_flows) if widths[k] != widths[k - 1]]
    n_mels, _, upsample_kernel_size = shape("upsample")
    config = {
        "n_mels": n_mels,
        "upsample_kernel_size": upsample_kernel_size,
        "n_flows": n_flows,
        "n_group": widths[0],
        # Without early outputs any size would do.
        "n_early_every": drops[0] if drops else n_flows,
        "n_early_size": widths[drops[0] - 1] - widths[drops[0]] if drops else 2,
        "n_channels": shape("WN.0.start")[0],
        "n_layers": n_layers,
        "kernel_size": shape("WN.0.in_layers.0")[2],
    }
    if widths != _widths(config) or widths[-1] < 2:
        raise CheckpointError(
            f"{name} has 1x1 convolutions of {widths} channels, expected as many to leave each time; "
            "it is no WaveGlow, or parts of it are missing"
        )
    return config


def _widths(config: dict[str, int]) -> list[int]:
    leave = config["n_early_size"]
    return [config["n_group"] - leave * (k // config["n_early_every"]) for k in range(config["n_flows"])]


def _config_of(model: WaveGlow) -> dict[str, int]:
    config = {key: getattr(model.config, key) for key in ("n_flows", "n_group", "n_early_every", "n_early_size")}
    config |= {key: getattr(model.config, key) for key in ("n_channels", "n_layers", "kernel_size")}
    kernel = model.upsample.conv.kernel_size[0]
    return {**config, "n_mels": model.config.mel.n_mels, "upsample_kernel_size": kernel}


def _layout(config: dict[str, int]) -> Iterator[tuple[str, str, tuple[int, ...], bool]]:
    """Each convolution: their name, ours, the shape of its weight, whether we keep it weight-normed."""
    n, layers, n_mels = config["n_channels"], config["n_layers"], config["n_mels"]
    yield "upsample", "upsample.conv", (n_mels, n_mels, config["upsample_kernel_size"]), False
    for k, width in enumerate(_widths(config)):
        step, wn = f"flow.steps.1.steps.{k}.steps", f"WN.{k}"
        net = f"{step}.1.conditioner"
        yield f"convinv.{k}.conv", f"{step}.0", (width, width, 1), False
        yield f"{wn}.start", f"{net}.start", (n, width // 2, 1), True
        yield f"{wn}.cond_layer", f"{net}.context", (2 * n * layers, n_mels * config["n_group"], 1), True
        for i in range(layers):
            yield f"{wn}.in_layers.{i}", f"{net}.dilated.{i}", (2 * n, n, config["kernel_size"]), True
            rows = 2 * n if i < layers - 1 else n
            yield f"{wn}.res_skip_layers.{i}", f"{net}.res_skip.{i}", (rows, n, 1), True
        yield f"{wn}.end", f"{net}.end", (width, n, 1), False


def _check(found: Convolution, key: str, shape: tuple[int, ...], *, has_bias: bool, name: str) -> None:
    if not found:
        raise CheckpointError(f"{name} lacks {key}; get the whole file")
    weights = {"weight": shape} if "weight" in found else {"g": (shape[0], 1, 1), "v": shape}
    expected: dict[str, Any] = weights | ({"bias": shape[:1]} if has_bias else {})
    if missing := expected.keys() - found.keys():
        raise CheckpointError(f"{name} lacks {min(missing)} of {key}; get the whole file")
    if unexpected := found.keys() - expected.keys():
        raise CheckpointError(f"{name} has {min(unexpected)} of {key} besides its weight; save it again")
    for part, size in expected.items():
        if tuple(found[part].shape) != tuple(size):
            raise CheckpointError(
                f"{name} has {part} of {key} in shape {tuple(found[part].shape)}, the other shapes call for "
                f"{tuple(size)}; it is another model, or damaged"
            )


def _named(found: Convolution, ours: str, is_normed: bool) -> dict[str, Tensor]:
    if is_normed:
        g, v = (found["g"], found["v"]) if "g" in found else _normed(found["weight"])
        stem = f"{ours}.parametrizations.weight"
        named = {f"{stem}.original0": g, f"{stem}.original1": v}
    else:
        weight = found["weight"] if "weight" in found else torch._weight_norm(found["v"], found["g"], 0)
        named = {f"{ours}.weight": weight if "bias" in found else weight[..., 0]}
    return named | ({f"{ours}.bias": found["bias"]} if "bias" in found else {})


def _normed(weight: Tensor) -> tuple[Tensor, Tensor]:
    g = torch.norm_except_dim(weight, 2, 0)
    # A row of zeros has no direction; any will do with length 0.
    return g, torch.where(g == 0, torch.ones_like(weight), weight)


def _some(keys: Any) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "") if keys else "nothing"
