import pytest
import torch
import torch.nn.functional as F
from small_models import moved, small

from waveflow.inference.folding import fold, foldable, upsampling
from waveflow.models import build


def inverse(folded, z, mel, lapped=None):
    """The folded inverse, written down from the equations in `FoldedLayer` and `FoldedStep`; one item."""
    features = folded.features(mel)[0]
    n_group = z.shape[1] // (features.shape[0] * len(folded.upsampling))
    latent = z.view(-1, n_group)
    x = None
    for step in folded.steps:
        n = step.mix.shape[0]
        if x is None:
            latent, x = latent[:, : latent.shape[1] - n], latent[:, latent.shape[1] - n :]
        half = n // 2
        a, b = (x[:, half:], x[:, :half]) if step.swap else (x[:, :half], x[:, half:])
        h, y = a @ step.start.T + step.start_bias, step.end_bias
        for layer in step.layers:
            told = torch.einsum("fk,pck,oc->fpo", features, folded.upsampling, layer.context).flatten(0, 1)
            reach = len(layer.taps) // 2 * layer.dilation
            padded = F.pad(h, (0, 0, reach, reach))
            gate = told + layer.bias
            for k, tap in enumerate(layer.taps):
                gate = gate + padded[k * layer.dilation :][: len(h)] @ tap.T
            g = torch.tanh(gate.chunk(2, 1)[0]) * torch.sigmoid(gate.chunk(2, 1)[1])
            y = y + g @ layer.end.T
            if layer.mix is not None:
                h = h + g @ layer.mix.T + layer.mix_bias
        t, log_s = y.chunk(2, 1)
        if step.max_log_s is not None:
            log_s = step.max_log_s * torch.tanh(log_s / step.max_log_s)
        b = (b - t) * torch.exp(-log_s)
        x = torch.cat([b, a] if step.swap else [a, b], 1) @ step.mix.T
        if step.early:
            x = torch.cat([latent[:, latent.shape[1] - step.early :], x], 1)
            latent = latent[:, : latent.shape[1] - step.early]
    if folded.gain is None:
        return x.flatten()[None]
    weight, bias = folded.gain
    return lapped.inverse((x * torch.exp(-(features @ weight.T + bias))).T[None])


def test_the_folded_inverse_is_the_model_s_in_double_precision(model):
    model = model.double()
    z, mel = torch.randn(1, 256 * 9, dtype=torch.float64), torch.randn(1, 80, 9, dtype=torch.float64)
    lapped = next((m for m in model.flow.steps if hasattr(m, "n_bands")), None)
    expected = model.inverse(z, mel)
    assert (inverse(fold(model), z, mel, lapped) - expected).abs().max() < 1e-11 * expected.abs().max()


def test_swapped_halves_and_a_short_upsampling_kernel_are_folded_rightly():
    torch.manual_seed(1)
    sizes = {"n_flows": 3, "n_channels": 8, "n_layers": 2, "n_early_every": 2}
    model = moved(build("waveglow", **sizes, swap_halves=True, upsample_kernel_size=600).double())
    z, mel = torch.randn(1, 256 * 5, dtype=torch.float64), torch.randn(1, 80, 5, dtype=torch.float64)
    expected = model.inverse(z, mel)
    assert (inverse(fold(model), z, mel) - expected).abs().max() < 1e-11 * expected.abs().max()


def test_the_upsampling_is_a_matrix_for_each_position():
    model = small("waveglow").double()
    mel = torch.randn(1, 80, 7, dtype=torch.float64)
    bias = model.upsample.conv.bias.repeat_interleave(8)
    features = fold(model).features(mel)[0]
    told = torch.einsum("fk,pok->fpo", features, upsampling(model.upsample)) + bias
    torch.testing.assert_close(told.flatten(0, 1), model.upsample(mel)[0].T, rtol=1e-12, atol=1e-12)


def test_a_model_of_another_family_is_refused():
    model = build("squeezewave", n_flows=2, n_channels=8, n_layers=2)
    assert not foldable(model)
    with pytest.raises(ValueError, match="SqueezeWave cannot be folded; WaveGlow and LapGlow can"):
        fold(model)
