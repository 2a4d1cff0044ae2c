import math

import pytest
import torch

from waveflow.bijections import LappedSqueeze, Squeeze
from waveflow.bijections.squeeze import rising_window
from waveflow.nn import Context

LAPPED = [(8, "sine", 8), (8, "kbd", 8), (8, "sine", 4), (8, "kbd", 2), (6, "sine", 0), (6, "sine", 6)]


def matrix_of(squeeze: LappedSqueeze, n_samples: int) -> torch.Tensor:
    """Row `i` is the transform of the unit impulse at sample `i`."""
    z, _ = squeeze(torch.eye(n_samples, dtype=torch.float64))
    return z.transpose(1, 2).flatten(1)


def test_squeeze_stacks_neighbouring_samples_as_channels():
    z, log_det = Squeeze(3)(torch.arange(12.0).view(1, 12))
    assert torch.equal(z[0, :, 1], torch.tensor([3.0, 4.0, 5.0]))
    assert z.shape == (1, 3, 4)
    assert torch.equal(log_det, torch.zeros(1))


@pytest.mark.parametrize("squeeze", [Squeeze(5), LappedSqueeze(4)])
def test_length_that_is_no_multiple_is_refused_with_the_remedy(squeeze):
    with pytest.raises(ValueError, match="cut or pad it"):
        squeeze(torch.zeros(2, 18))


@pytest.mark.parametrize(("n_bands", "window", "overlap"), LAPPED)
def test_lapped_squeeze_is_orthonormal_up_to_both_ends(n_bands, window, overlap):
    squeeze = LappedSqueeze(n_bands, window, overlap).double()
    for n_frames in (1, 2, 5):
        matrix = matrix_of(squeeze, n_frames * n_bands)
        eye = torch.eye(len(matrix), dtype=torch.float64)
        assert (matrix @ matrix.T - eye).abs().max() < 1e-12
        assert (matrix.T @ matrix - eye).abs().max() < 1e-12


@pytest.mark.parametrize(("n_bands", "window", "overlap"), LAPPED)
def test_lapped_squeeze_keeps_the_energy(n_bands, window, overlap, generator):
    x = torch.randn(2, 7 * n_bands, generator=generator, dtype=torch.float64)
    z, _ = LappedSqueeze(n_bands, window, overlap).double()(x)
    assert torch.allclose(z.square().sum((1, 2)), x.square().sum(1), rtol=1e-12)


@pytest.mark.parametrize("window", ["sine", "kbd"])
def test_inner_frames_are_a_windowed_mdct_of_twice_their_length(window, generator):
    # z[k] = sqrt(2 / M) sum over 2 M samples of w[n] x[n] cos(pi / M (n + 1/2 - M/2) (k + 1/2)); the textbook
    # has + M/2, which is the same transform of reversed time.
    n_bands = 8
    squeeze = LappedSqueeze(n_bands, window).double()
    x = torch.randn(1, 4 * n_bands, generator=generator, dtype=torch.float64)
    rise = rising_window(n_bands, window)
    n = torch.arange(2 * n_bands, dtype=torch.float64) + 0.5 - n_bands / 2
    k = torch.arange(n_bands, dtype=torch.float64) + 0.5
    kernel = math.sqrt(2 / n_bands) * torch.cos(math.pi / n_bands * torch.outer(n, k))
    # Frame f rotates the boundaries at its two ends, so that its window spans half a frame beyond each.
    start = n_bands // 2
    expected = (torch.cat([rise, rise.flip(0)]) * x[0, start : start + 2 * n_bands]) @ kernel
    assert (squeeze(x)[0][0, :, 1] - expected).abs().max() < 1e-12


@pytest.mark.parametrize("window", ["sine", "kbd"])
@pytest.mark.parametrize("band", [0, 5, 20, 31])
def test_a_sinusoid_peaks_at_its_band(window, band):
    n_bands = 32
    time = torch.arange(16 * n_bands, dtype=torch.float64)
    sinusoid = torch.sin(math.pi * (band + 0.5) / n_bands * time + 0.3)[None]
    power = LappedSqueeze(n_bands, window).double()(sinusoid)[0][0].square().sum(1)
    assert power.argmax() == band
    near = power[max(band - 2, 0) : band + 3].sum()
    assert near > 0.95 * power.sum()


def test_kbd_leaks_less_than_sine_far_from_the_band():
    n_bands, band = 64, 20
    time = torch.arange(16 * n_bands, dtype=torch.float64)
    sinusoid = torch.sin(math.pi * (band + 0.3) / n_bands * time)[None]
    far = {}
    for window in ("sine", "kbd"):
        z = LappedSqueeze(n_bands, window).double()(sinusoid)[0][0, :, 2:-2]
        far[window] = z[band + 20 :].square().sum()
    assert far["kbd"] < 0.1 * far["sine"]


@pytest.mark.parametrize("window", ["sine", "kbd"])
def test_window_is_power_complementary(window):
    rise = rising_window(12, window)
    assert torch.allclose(rise.square() + rise.flip(0).square(), torch.ones(12, dtype=torch.float64), atol=1e-14)
    assert (rise.diff() > 0).all()


def test_overlap_of_zero_is_a_plain_dct_of_each_frame(generator):
    squeeze = LappedSqueeze(4, overlap=0).double()
    x = torch.randn(1, 12, generator=generator, dtype=torch.float64)
    together = squeeze(x)[0]
    for f in range(3):
        alone = squeeze(x[:, 4 * f : 4 * f + 4])[0]
        assert torch.equal(together[..., f : f + 1], alone)


def test_tables_are_as_exact_as_the_dtype_the_module_is_moved_to():
    squeeze = LappedSqueeze(16)
    assert (squeeze.double().dct @ squeeze.dct - torch.eye(16, dtype=torch.float64)).abs().max() < 1e-14
    assert squeeze.float().dct.dtype == torch.float32


def test_mask_ends_an_item_at_its_own_last_frame(generator):
    squeeze = LappedSqueeze(4).double()
    x = torch.randn(1, 16, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]], dtype=torch.float64)
    masked, _ = squeeze(x, Context(None, mask))
    assert torch.equal(masked[..., :2], squeeze(x[:, :8])[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_bands": 7},
        {"n_bands": 8, "overlap": 3},
        {"n_bands": 8, "overlap": 10},
        {"n_bands": 8, "window": "hann"},
    ],
)
def test_impossible_tables_are_refused(arguments):
    with pytest.raises(ValueError):
        LappedSqueeze(**arguments)
