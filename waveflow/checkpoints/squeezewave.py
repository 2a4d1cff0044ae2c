"""SqueezeWave's checkpoints: from the names of tianrengao/SqueezeWave to ours.

Names there, `k` a flow and `i` a layer of its conditioner:

    convinv.k.conv    WN.k.start    WN.k.cond_layer    WN.k.in_layers.i.{0,1,2}    WN.k.res_skip_layers.i
    WN.k.end

with `in_layers.i` batch normalisation, depthwise and pointwise convolution. After that project's
`remove_weightnorm` the normalisation is folded into the depthwise convolution, which is then
`in_layers.i.0`. The folding moves the padding before the shift and so changes the two ends of the signal:
such a file is read as what it computes, a model without normalisation.
"""

from __future__ import annotations

from torch import Tensor

from waveflow.checkpoints.weights import ForeignWeights, Found, without_prefix

_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def is_squeezewave(tensors: dict[str, Tensor]) -> bool:
    """Whether the keys are SqueezeWave's."""
    return any(key.endswith("WN.0.in_layers.0.1.weight") for key in tensors)


def read_squeezewave(tensors: dict[str, Tensor], name: str) -> Found:
    """Understand a SqueezeWave's state dict, folded or not, under any prefix.

    Args:
        tensors: The state dict.
        name: What to call the file in errors.

    Raises:
        CheckpointError: A key is missing or unknown, a shape contradicts the others, or a value is not
            finite.
    """
    source = ForeignWeights(without_prefix(tensors, "convinv.0.conv.weight", name), name, "SqueezeWave")
    n_flows, n_layers = source.count("convinv."), source.count("WN.0.in_layers.")
    widths = [source.shape(f"convinv.{k}.conv")[0] for k in range(n_flows)]
    drops = [k for k in range(1, n_flows) if widths[k] != widths[k - 1]]
    batch_norm = "WN.0.in_layers.0.2.weight" in source
    n, depthwise = source.shape("WN.0.start")[0], "1" if batch_norm else "0"
    n_mels = source.shape("WN.0.cond_layer")[1]
    config = {
        "n_flows": n_flows,
        "n_group": widths[0],
        "n_early_every": drops[0] if drops else n_flows,
        "n_early_size": widths[drops[0] - 1] - widths[drops[0]] if drops else 2,
        "n_channels": n,
        "n_layers": n_layers,
        "kernel_size": source.shape(f"WN.0.in_layers.0.{depthwise}")[-1],
        "batch_norm": batch_norm,
    }
    weights: dict[str, Tensor] = {}
    for k in range(n_flows):
        width = config["n_group"] - config["n_early_size"] * (k // config["n_early_every"])
        theirs, step = f"WN.{k}", f"flow.steps.1.steps.{k}.steps"
        ours = f"{step}.1.conditioner"
        matrix = source.convolution(f"convinv.{k}.conv", (width, width, 1), bias=False)
        weights[f"{step}.0.weight"] = matrix.weight[..., 0]
        start = source.convolution(f"{theirs}.start", (n, width // 2, 1))
        context = source.convolution(f"{theirs}.cond_layer", (2 * n * n_layers, n_mels, 1))
        weights |= start.under(f"{ours}.start", weight_norm=True)
        weights |= context.under(f"{ours}.context", weight_norm=True)
        for i in range(n_layers):
            layer, separable = f"{theirs}.in_layers.{i}", f"{ours}.separable.{i}"
            if batch_norm:
                for part in _STATISTICS:
                    weights[f"{separable}.norm.{part}"] = source.tensor(f"{layer}.0.{part}", (n,))
                seen = "num_batches_tracked"
                weights[f"{separable}.norm.{seen}"] = source.counter(f"{layer}.0.{seen}")
            taps = source.convolution(f"{layer}.{depthwise}", (n, 1, config["kernel_size"]))
            mix = source.convolution(f"{layer}.{int(depthwise) + 1}", (2 * n, n, 1))
            weights |= taps.under(f"{separable}.depthwise", weight_norm=False)
            weights |= mix.under(f"{separable}.pointwise", weight_norm=False)
            residual = source.convolution(f"{theirs}.res_skip_layers.{i}", (n, n, 1))
            weights |= residual.under(f"{ours}.residual.{i}", weight_norm=True)
        weights |= source.convolution(f"{theirs}.end", (width, n, 1)).under(f"{ours}.end", weight_norm=False)
    source.finish()
    return Found("squeezewave", config, n_mels, weights, source.weight_norm, source.dtype)
