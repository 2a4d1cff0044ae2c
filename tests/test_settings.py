"""What families and networks say of numbers that nothing could be built of."""

import pytest
from torch.nn import Identity

from waveflow import bijections as b
from waveflow import nn
from waveflow.distributions import IndependentSymbols

WIDE = {"n_channels": 8, "n_layers": 2}
FLOW = {"n_features": 4, "n_flows": 2, **WIDE}
NET = {"in_channels": 2, "out_channels": 4, "context_channels": 3, **WIDE, "kernel_size": 3}
COUNTS = [
    (b.ActNorm, {"n_channels": 4}, {}),
    (b.Affine, {"n_channels": 4}, {}),
    *((family, FLOW, {}) for family in (b.MAF, b.IAF, b.NICE, b.RealNVP, b.ResidualFlow)),
    (b.NAF, FLOW | {"n_units": 4}, {}),
    (b.NSF, FLOW | {"n_bins": 4}, {}),
    (b.NSF, FLOW | {"n_bins": 4}, {"autoregressive": True}),
    (b.Glow, {"n_channels": 1, "n_scales": 2, "n_flows": 2, "n_hidden": 8}, {}),
    (b.ImageRealNVP, {"n_scales": 2, "n_flows": 2, "n_channels": 8}, {"shape": (1, 4, 4)}),
    (b.Planar, {"n_features": 3}, {}),
    (b.Radial, {"n_features": 3}, {}),
    (b.Sylvester, {"n_features": 3, "rank": 2}, {}),
    (b.Residual, {"n_terms": 4}, {"network": nn.LipschitzMLP(3)}),
    (b.Continuous, {"n_steps": 4}, {"velocity": Identity(), "solver": "rk4"}),
    (b.Continuous, {"inverse_steps": 4}, {"velocity": Identity(), "inverse_solver": "rk4"}),
    (b.SplineMap, {"n_bins": 8}, {}),
    (b.SplineCoupling, {"n_bins": 8}, {"conditioner": Identity()}),
    (b.SigmoidalMap, {"n_units": 8}, {}),
    (b.InvertibleConv1x1, {"n_channels": 4}, {}),
    (b.InvertibleConv1x1LU, {"n_channels": 4}, {}),
    (b.Squeeze, {"n_group": 4}, {}),
    (b.LappedSqueeze, {"n_bands": 4}, {}),
    (b.Scale, {"factor": 2}, {"steps": b.Affine(4)}),
    (nn.MADE, {"n_features": 3, "n_parameters": 2, "n_inputs": 1, **WIDE}, {}),
    (nn.MLP, {"in_channels": 3, "out_channels": 2, **WIDE}, {}),
    (nn.TimedMLP, {"in_channels": 3, "out_channels": 2, **WIDE}, {}),
    (nn.ConvNet, {"in_channels": 3, "out_channels": 2, "n_channels": 8}, {}),
    (nn.LipschitzMLP, {"n_features": 3, **WIDE}, {}),
    (nn.FrameEncoder, {"in_channels": 3, "n_channels": 4}, {"n_blocks": 1}),
    (nn.ScaledWaveNet, NET, {}),
    (nn.SeparableWaveNet, NET | {"repeat": 2}, {}),
    (nn.WaveNet2D, NET, {}),
    (nn.WaveNet, {**NET}, {}),
    (nn.TimedWaveNet, {"n_features": 2, "n_channels": 4, "kernel_size": 3}, {"dilations": [1, 2]}),
    (nn.MelUpsample, {"n_mels": 4, "hop_length": 8, "n_group": 4, "kernel_size": 16}, {}),
    (IndependentSymbols, {"n_features": 3, "n_symbols": 2}, {}),
]
MAY_BE_ZERO = {(nn.WaveNet, "context_channels")}


@pytest.mark.parametrize(
    ("kind", "counts", "others"), COUNTS, ids=lambda value: value.__name__ if isinstance(value, type) else ""
)
def test_a_number_of_things_is_a_whole_number_of_at_least_one(kind, counts, others):
    kind(**counts, **others)
    for name in counts:
        for value in (-1, 0, 1.5, float("nan"), "4", [4], True):
            if value == 0 and (kind, name) in MAY_BE_ZERO:
                continue
            with pytest.raises(ValueError, match=rf"\b{name}( is |=)"):
                kind(**{**counts, name: value}, **others)


@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        (b.AffineMap, "max_log_s", {}),
        (b.AffineCoupling, "max_log_s", {"conditioner": Identity()}),
        (b.NormalizingCoupling, "max_log_s", {"conditioner": Identity()}),
        (b.SplineMap, "bound", {}),
        (b.SplineMap, "min_size", {}),
        (b.SplineMap, "min_slope", {}),
        (b.SigmoidalMap, "steepness", {}),
        (b.Residual, "p", {"network": nn.LipschitzMLP(3)}),
        (b.Continuous, "rtol", {"velocity": Identity()}),
        (b.Continuous, "atol", {"velocity": Identity()}),
        (b.DiscreteAutoregressive, "temperature", {"conditioner": nn.MADE(3, 4, n_inputs=4)}),
        (nn.LipschitzMLP, "lipschitz", {"n_features": 3}),
    ],
)
def test_what_scales_or_bounds_is_a_finite_number_above_zero(kind, name, others):
    for value in (-1.0, 0.0, float("nan"), float("inf"), "1", [1.0]):
        with pytest.raises(ValueError, match=rf"^{name} is .*, expected a finite number above 0$"):
            kind(**{name: value}, **others)


@pytest.mark.parametrize("kind", [nn.WaveNet, nn.WaveNet2D])
def test_dilations_are_whole_numbers_of_at_least_one(kind):
    for name in ("dilations", "height_dilations") if kind is nn.WaveNet2D else ("dilations",):
        for value in ([0, 1], [1, -1], [], 1, "12", [1.5, 1]):
            with pytest.raises(ValueError, match=rf"^{name} is .*, expected a list of whole numbers of at least 1$"):
                kind(**NET, **{name: value})


def test_what_cannot_be_built_of_numbers_that_are_fine_each_is_refused():
    with pytest.raises(ValueError, match=r"shape is \(1, 4, 6\), expected sides that divide by 2 to the power"):
        b.ImageRealNVP((1, 4, 6), n_scales=2)
    with pytest.raises(ValueError, match=r"weight has shape \(2, 2\), expected \(3, 3\)"):
        b.InvertibleConv1x1(3, b.InvertibleConv1x1(2).weight)
    with pytest.raises(ValueError, match="early is -1, expected a whole number of at least 0"):
        b.EarlyOutputs([b.Affine(4), b.Affine(2)], [0, -1])
    with pytest.raises(ValueError, match=r"min_slope is 1\.0, expected less than 1"):
        b.SplineMap(min_slope=1.0)
