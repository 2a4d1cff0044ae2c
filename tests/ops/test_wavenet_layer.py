import pytest
import torch

from ops.layers import Layer
from waveflow.ops.tuning import override
from waveflow.ops.wavenet_layer import packing, wavenet_layer

# Of values near one: a sum in another order, and the last bit of what is stored.
BOUND = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}

LAYERS = {
    "waveglow": {},
    "one-position": {"n_positions": 1, "n_frames": 37, "dilation": 4},
    "one-frame": {"n_frames": 1, "lengths": (4, 1)},
    "long-reach": {"n_positions": 2, "n_frames": 11, "dilation": 8},
    "reach-beyond-all": {"n_frames": 3, "dilation": 16},
    "five-taps": {"taps": 5, "dilation": 3},
    "width-no-power-of-two": {"n_channels": 48, "n_out": 20},
    "width-no-tile": {"n_channels": 24, "n_features": 7},
    "many-outputs": {"n_out": 70},
    "last": {"last": True},
    "adds-to-output": {"begins": False},
    "three-items": {"batch": 3, "lengths": (36, 1, 17)},
}


def close(found, expected, bound):
    for x, y in zip(found, expected):
        torch.testing.assert_close(x, y.to(x.dtype), rtol=bound, atol=bound)


@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
@pytest.mark.parametrize("sizes", LAYERS.values(), ids=LAYERS.keys())
def test_the_truth_is_a_dilated_convolution(sizes, folded):
    layer = Layer(**sizes, folded=folded and sizes.get("begins", True))
    state, out = layer.run("reference")
    expected_state, expected_out = layer.convolve()
    close((out,), (expected_out,), 2e-6)
    if layer.last:
        assert state.isnan().all()
    else:
        close((state,), (expected_state,), 1e-5)


def tiles(frames, rows, *, tma=True, whole=False):
    sizes = {"BLOCK_T": frames, "BLOCK_R": rows, "ALL_BLOCKS": whole, "TMA": tma}
    return {**sizes, "num_warps": 4, "num_stages": 2}


@pytest.mark.parametrize("whole", [False, True], ids=["blocks", "whole"])
@pytest.mark.parametrize("tma", [True, False], ids=["descriptors", "pointers"])
@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
@pytest.mark.parametrize("sizes", LAYERS.values(), ids=LAYERS.keys())
def test_the_kernel_equals_its_truth(sizes, folded, tma, whole, device):
    layer = Layer(**sizes, folded=folded and sizes.get("begins", True))
    with override(wavenet_layer=tiles(16, 16, tma=tma, whole=whole)):
        found = layer.run("triton", device)
    expected = layer.run("reference")
    close(found[layer.last :], expected[layer.last :], BOUND[torch.float32])
    assert found[0].isnan().all() == layer.last


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [LAYERS["waveglow"], LAYERS["width-no-power-of-two"]], ids=["narrow", "wide"])
@pytest.mark.parametrize("folded", [False, True], ids=["layer", "first"])
def test_half_precision_stays_within_its_rounding(sizes, dtype, folded, device):
    layer = Layer(**sizes, dtype=dtype, folded=folded)
    with override(wavenet_layer=tiles(32, 64)):
        found = layer.run("triton", device)
    close(found, layer.run("reference"), BOUND[dtype])
    close(found, layer.convolve(), 4 * BOUND[dtype])


@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 16, 32, 64, 128])
def test_every_dilation_of_waveglow(dilation, device):
    layer = Layer(n_positions=32, n_frames=9, n_channels=8, batch=1, dilation=dilation)
    with override(wavenet_layer=tiles(16, 8)):
        found = layer.run("triton", device)
    close(found, layer.run("reference"), BOUND[torch.float32])


def test_the_folded_first_layer_keeps_the_latent_s_precision():
    layer = Layer(folded=True, dtype=torch.bfloat16)
    layer.latent *= 100
    coarse = Layer(folded=True, dtype=torch.bfloat16)
    for name, value in vars(layer).items():
        setattr(coarse, name, value)
    state = layer.run("reference")[0]
    coarse.latent = layer.latent.bfloat16().float()
    assert (state != coarse.run("reference")[0]).any()


@pytest.mark.parametrize("n_channels", [8, 16, 24, 64, 96, 128, 192, 256, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tiles_hold_every_weight_once(n_channels, dtype):
    pack = packing.Packing.of(n_channels, dtype)
    weight = torch.randn(3, 2 * n_channels, n_channels)
    tiles = pack.tiles(weight)
    assert tiles.shape[-1] * dtype.itemsize <= 128
    assert torch.equal(pack.whole(tiles, n_channels)[..., :n_channels], weight)
    assert tiles.count_nonzero() == weight.count_nonzero()


def test_a_width_that_the_kernel_cannot_move_is_refused(device):
    with pytest.raises(ValueError, match="n_channels is 12"):
        Layer(n_channels=12).run("triton", device)


def test_the_operation_is_well_formed(device):
    layer = Layer(batch=1, n_frames=2, n_positions=1)
    c, width = layer.n_channels, packing.features_width(layer.n_features, layer.n_channels, layer.dtype)
    told = torch.nn.functional.pad(layer.told, (0, width - layer.n_features))
    hidden = torch.randn(1, 2, c + width)
    arguments = (
        hidden,
        packing.pack_gate(layer.conv, told, layer.dtype),
        packing.pack_bias(layer.gate_bias, layer.dtype),
        packing.pack_after(layer.mix, layer.dtype),
        layer.mix_bias,
        packing.pack_after(layer.end, layer.dtype),
        layer.end_bias,
        torch.tensor([2], dtype=torch.int32),
        torch.zeros_like(hidden),
        torch.zeros(1, 2, layer.n_out),
        c,
        1,
    )
    torch.library.opcheck(wavenet_layer, arguments)
