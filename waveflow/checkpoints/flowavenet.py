"""FloWaveNet's checkpoints: from the names of ksw0306/FloWaveNet to ours.

Names there, `b` a block, `k` a flow and `i` a layer of its WaveNet:

    upsample_conv.{0,2}    blocks.b.flows.k.actnorm.{loc,scale}    blocks.b.flows.k.coupling.net    blocks.b.prior

and in each `net` and `prior`

    front_conv.0.conv    res_blocks.i.{filter,gate}_conv.conv    res_blocks.i.{filter,gate}_conv_c
    res_blocks.i.{res,skip}_conv    final_conv.1.conv    final_conv.3.conv    final_conv.3.scale
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from waveflow.checkpoints.weights import ForeignWeights, Found, stack, without_prefix


def is_flowavenet(tensors: dict[str, Tensor]) -> bool:
    """Whether the keys are FloWaveNet's."""
    return any(key.endswith("blocks.0.flows.0.actnorm.loc") for key in tensors)


def read_flowavenet(tensors: dict[str, Tensor], name: str) -> Found:
    """Understand a FloWaveNet's state dict, with or without weight norm, under any prefix.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, or a value is not
            finite.
    """
    source = ForeignWeights(without_prefix(tensors, "blocks.0.flows.0.actnorm.loc", name), name, "FloWaveNet")
    n_blocks, n_flows = source.count("blocks."), source.count("blocks.0.flows.")
    net = "blocks.0.flows.0.coupling.net"
    splits = [b for b in range(n_blocks) if f"blocks.{b}.prior.front_conv.0.conv" in source]
    outputs = source.shape(f"{net}.final_conv.3.conv")[0]
    config: dict[str, Any] = {
        "n_blocks": n_blocks,
        "n_flows": n_flows,
        "n_layers": source.count(f"{net}.res_blocks."),
        "n_channels": source.shape(f"{net}.front_conv.0.conv")[0],
        # Without splits any number from n_blocks on would do.
        "n_blocks_per_split": splits[0] + 1 if splits else n_blocks,
        "kernel_size": source.shape(f"{net}.front_conv.0.conv")[-1],
        "affine": outputs == 2,
        "upsample_factors": [source.shape(f"upsample_conv.{i}")[-1] // 2 for i in (0, 2)],
    }
    n_mels = source.shape(f"{net}.res_blocks.0.filter_conv_c")[1]
    weights: dict[str, Tensor] = {}
    for i, factor in enumerate(config["upsample_factors"]):
        upsample = source.convolution(f"upsample_conv.{2 * i}", (1, 1, 3, 2 * factor))
        weights |= upsample.under(f"upsample.convs.{i}", weight_norm=True)
    channels, context_channels = 1, n_mels
    for b in range(n_blocks):
        channels, context_channels = 2 * channels, 2 * context_channels
        scale = f"flow.steps.1.scales.{b}"
        for k in range(n_flows):
            theirs, norm = f"blocks.{b}.flows.{k}", f"{scale}.steps.steps.{3 * k}"
            for part in ("loc", "scale"):
                weights[f"{norm}.{part}"] = source.tensor(f"{theirs}.actnorm.{part}", (1, channels, 1)).flatten()
            weights[f"{norm}.initialized"] = torch.tensor(True)
            ours = f"{scale}.steps.steps.{3 * k + 1}.conditioner.conditioner"
            sizes = (channels, context_channels // 2, config["n_layers"])
            weights |= _wavenet(source, f"{theirs}.coupling.net", ours, config, *sizes, mean_first=False)
        if b in splits:
            ours, sizes = f"{scale}.prior.conditioner.conditioner", (channels, context_channels, None)
            weights |= _wavenet(source, f"blocks.{b}.prior", ours, config, *sizes, mean_first=True)
            channels //= 2
    source.finish()
    return Found("flowavenet", config, n_mels, weights, source.weight_norm, source.dtype, mel_preset="flowavenet")


def _wavenet(
    source: ForeignWeights,
    theirs: str,
    ours: str,
    config: dict[str, Any],
    channels: int,
    context_channels: int,
    n_layers: int | None,
    *,
    mean_first: bool,
) -> dict[str, Tensor]:
    """Entries of one of our WaveNets.

    Args:
        source: What they are taken from.
        theirs: Its name there.
        ours: Its name here.
        config: Of the model.
        channels: Of the data, of which half are told.
        context_channels: Of the features.
        n_layers: Number of layers, None for a prior's.
        mean_first: Whether the mean comes before the logarithm of the deviation, as it does here.
    """
    n, taps = config["n_channels"], config["kernel_size"]
    n_layers = source.count(f"{theirs}.res_blocks.") if n_layers is None else n_layers
    weights = source.convolution(f"{theirs}.front_conv.0.conv", (n, channels // 2, taps)).under(
        f"{ours}.start", weight_norm=True
    )
    told = []
    for i in range(n_layers):
        block = f"{theirs}.res_blocks.{i}"
        gates = [source.convolution(f"{block}.{kind}_conv.conv", (n, n, taps)) for kind in ("filter", "gate")]
        weights |= stack(gates).under(f"{ours}.dilated.{i}", weight_norm=True)
        told += [source.convolution(f"{block}.{kind}_conv_c", (n, context_channels, 1)) for kind in ("filter", "gate")]
        parts = [source.convolution(f"{block}.{kind}_conv", (n, n, 1)) for kind in ("res", "skip")]
        # Nothing comes after the last layer's residual half.
        used = stack(parts) if i < n_layers - 1 else parts[1]
        weights |= used.under(f"{ours}.res_skip.{i}", weight_norm=True)
    weights |= stack(told).under(f"{ours}.context", weight_norm=True)
    middle = source.convolution(f"{theirs}.final_conv.1.conv", (n, n, 1))
    weights |= middle.under(f"{ours}.middle", weight_norm=True)
    outputs = channels if mean_first or config["affine"] else channels // 2
    end = source.convolution(f"{theirs}.final_conv.3.conv", (outputs, n, 1))
    gain = source.tensor(f"{theirs}.final_conv.3.scale", (1, outputs, 1))[0]
    if outputs == channels and not mean_first:
        end, gain = end.swapped(), gain.roll(outputs // 2, 0)
    return {**weights, **end.under(f"{ours}.end", weight_norm=False), f"{ours}.gain": gain}
