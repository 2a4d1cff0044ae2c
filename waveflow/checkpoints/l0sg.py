"""WaveFlow's checkpoints of the L0SG implementation: from its names to ours.

Names there, `k` a flow and `i` a layer of its WaveNet:

    upsample_conv.{0,2}    flows.k.coupling.net.front_conv.0.conv
    flows.k.coupling.net.res_blocks.i.{filter_gate_conv.conv,filter_gate_conv_c,res_skip_conv}
    flows.k.coupling.proj_log_s_t.conv

After that project's `fuse_conditioning_layers`, `filter_gate_conv_c` of all layers are one,
`flows.k.coupling.net.fused_filter_gate_conv_c`. No shape tells the height of the matrix, the permutation, or how
the dilations over the rows cycle.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from waveflow.checkpoints.weights import ForeignWeights, Found, stack, without_prefix


def is_l0sg(tensors: dict[str, Tensor]) -> bool:
    """Whether the keys are those of L0SG's WaveFlow."""
    return any(key.endswith("flows.0.coupling.proj_log_s_t.conv.weight") for key in tensors)


def read_l0sg(
    tensors: dict[str, Tensor],
    name: str,
    *,
    n_group: int = 16,
    n_layers_per_cycle: int = 1,
    permutation: str = "bipartite",
) -> Found:
    """Understand the state dict of L0SG's WaveFlow, with or without weight norm, fused or not, under any prefix.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.
        n_group: Height of the matrix, `n_height` there.
        n_layers_per_cycle: The same there.
        permutation: `reverse` for the coupling type `waveflow` there, `bipartite` for `waveflow_bipartize`.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, or a value is not
            finite.
    """
    anchor = "flows.0.coupling.proj_log_s_t.conv.weight"
    source = ForeignWeights(without_prefix(tensors, anchor, name), name, "L0SG's WaveFlow")
    net = "flows.0.coupling.net"
    config: dict[str, Any] = {
        "n_flows": source.count("flows."),
        "n_group": n_group,
        "n_channels": source.shape(f"{net}.front_conv.0.conv")[0],
        "n_layers": source.count(f"{net}.res_blocks."),
        "n_layers_per_cycle": n_layers_per_cycle,
        "kernel_size": source.shape(f"{net}.res_blocks.0.filter_gate_conv.conv")[-1],
        "permutation": permutation,
        "upsample_factors": [source.shape(f"upsample_conv.{i}")[-1] // 2 for i in (0, 2)],
    }
    fused = "fused_filter_gate_conv_c"
    joint = f"{net}.{fused}" in source
    n_mels = source.shape(f"{net}.{fused}" if joint else f"{net}.res_blocks.0.filter_gate_conv_c")[1]
    n, layers, taps = config["n_channels"], config["n_layers"], [config["kernel_size"]] * 2
    weights: dict[str, Tensor] = {}
    for i, factor in enumerate(config["upsample_factors"]):
        upsample = source.convolution(f"upsample_conv.{2 * i}", (1, 1, 3, 2 * factor))
        weights |= upsample.under(f"upsample.convs.{i}", weight_norm=True)
    for k in range(config["n_flows"]):
        net, ours = f"flows.{k}.coupling.net", f"flow.steps.{k + 1}.conditioner"
        start = source.convolution(f"{net}.front_conv.0.conv", (n, 1, 1, 1))
        weights |= start.under(f"{ours}.start", weight_norm=True)
        told = [source.convolution(f"{net}.{fused}", (2 * n * layers, n_mels, 1, 1))] if joint else []
        for i in range(layers):
            block = f"{net}.res_blocks.{i}"
            dilated = source.convolution(f"{block}.filter_gate_conv.conv", (2 * n, n, *taps))
            weights |= dilated.under(f"{ours}.dilated.{i}", weight_norm=True)
            res_skip = source.convolution(f"{block}.res_skip_conv", (2 * n, n, 1, 1))
            # Nothing comes after the last layer's residual half.
            used = res_skip if i < layers - 1 else res_skip.rows(slice(n, None))
            weights |= used.under(f"{ours}.res_skip.{i}", weight_norm=True)
            if not joint:
                told.append(source.convolution(f"{block}.filter_gate_conv_c", (2 * n, n_mels, 1, 1)))
        weights |= stack(told).under(f"{ours}.context", weight_norm=True)
        end = source.convolution(f"flows.{k}.coupling.proj_log_s_t.conv", (2, n, 1, 1))
        weights |= end.swapped().under(f"{ours}.end", weight_norm=False)
    source.finish()
    assumed = ("n_group", "n_layers_per_cycle", "permutation")
    return Found("waveflow", config, n_mels, weights, source.weight_norm, source.dtype, assumed)
