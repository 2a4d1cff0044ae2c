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

from collections.abc import Iterator

from torch import Tensor

from waveflow.checkpoints.errors import CheckpointError, some
from waveflow.checkpoints.weights import ForeignWeights, Found, stack, without_prefix
from waveflow.models import WaveGlow

_ANCHOR = "upsample.weight"
Shape = tuple[int, ...]


def read_waveglow(tensors: dict[str, Tensor], name: str, *, swap_halves: bool = False) -> Found:
    """Understand a state dict of any generation, with or without weight norm, under any prefix.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.
        swap_halves: Whether it is of the earliest release, which no shape tells.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, or a value is not
            finite.
    """
    if not any(key == _ANCHOR or key.endswith(f".{_ANCHOR}") for key in tensors):
        raise CheckpointError(
            f"{name} is no WaveGlow: expected one {_ANCHOR}, found 0 among {some(tensors)}; "
            "SqueezeWave, FloWaveNet and WaveFlow can be converted too, but have other names"
        )
    source = ForeignWeights(without_prefix(tensors, _ANCHOR, name), name, "WaveGlow")
    config = _infer(source, name)
    split = any(".skip_layers." in key for key in tensors)
    by_layer = any(".cond_layers." in key for key in tensors)
    weights: dict[str, Tensor] = {}
    for theirs, ours, shape, is_normed in _layout(config):
        is_matrix = theirs.startswith("convinv.")
        parts = _parts(theirs, shape, config["n_layers"], split=split, by_layer=by_layer)
        found = stack([source.convolution(part, size, bias=not is_matrix) for part, size in parts])
        if is_matrix:
            weights[f"{ours}.weight"] = found.weight[..., 0]
        else:
            weights |= found.under(ours, weight_norm=is_normed)
    source.finish()
    n_mels = config.pop("n_mels")
    return Found(
        "waveglow",
        {**config, "swap_halves": swap_halves},
        n_mels,
        weights,
        source.weight_norm,
        source.dtype,
        generation=1 if split else 2 if by_layer else 3,
    )


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


def _parts(theirs: str, shape: Shape, n_layers: int, *, split: bool, by_layer: bool) -> list[tuple[str, Shape]]:
    """What a convolution of the third generation is in the file, from its first row on: names, and shapes of weights.

    Args:
        theirs: Its name.
        shape: Of its weight.
        n_layers: Layers of its WaveNet.
        split: Whether the file has residual and skip layers apart.
        by_layer: Whether it has a conditioning layer for each layer.
    """
    stem, _, last = theirs.rpartition(".")
    rows, n = shape[:2]
    if by_layer and last == "cond_layer":
        return [(f"{theirs}s.{i}", (rows // n_layers, *shape[1:])) for i in range(n_layers)]
    if split and stem.endswith(".res_skip_layers"):
        wn = stem.removesuffix("res_skip_layers")
        # Nothing comes after the last layer's residual half.
        kinds = ("res_layers", "skip_layers") if rows > n else ("skip_layers",)
        return [(f"{wn}{kind}.{last}", (n, *shape[1:])) for kind in kinds]
    return [(theirs, shape)]


def _infer(source: ForeignWeights, name: str) -> dict[str, int]:
    n_flows = source.count("convinv.")
    widths = [source.shape(f"convinv.{k}.conv")[0] for k in range(n_flows)]
    drops = [k for k in range(1, n_flows) if widths[k] != widths[k - 1]]
    upsample = source.shape("upsample")
    config = {
        "n_mels": upsample[0],
        "upsample_kernel_size": upsample[-1],
        "n_flows": n_flows,
        "n_group": widths[0],
        # Without early outputs any size would do.
        "n_early_every": drops[0] if drops else n_flows,
        "n_early_size": widths[drops[0] - 1] - widths[drops[0]] if drops else 2,
        "n_channels": source.shape("WN.0.start")[0],
        "n_layers": source.count("WN.0.in_layers."),
        "kernel_size": source.shape("WN.0.in_layers.0")[-1],
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


def _layout(config: dict[str, int]) -> Iterator[tuple[str, str, Shape, bool]]:
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
