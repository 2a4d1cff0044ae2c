import pytest
import torch

from waveflow.bijections import LappedSqueeze
from waveflow.nn import Context
from waveflow.ops.lapped_inverse import lapped_inverse
from waveflow.ops.tuning import override

CASES = {
    "full-overlap": {"n_bands": 16},
    "short-overlap": {"n_bands": 24, "overlap": 16, "n_frames": 40},
    "no-overlap": {"n_bands": 8, "overlap": 0},
    "one-frame": {"n_bands": 16, "n_frames": 1},
    "two-frames": {"n_bands": 6, "n_frames": 2},
    "kbd": {"n_bands": 16, "window": "kbd"},
}


def problem(n_bands, overlap=None, n_frames=9, window="sine", gain=True, batch=2):
    squeeze = LappedSqueeze(n_bands, window, overlap)
    bands = torch.randn(batch, n_frames, n_bands)
    log_gain = torch.randn(batch, n_frames, n_bands) if gain else None
    lengths = torch.tensor([n_frames, max(1, n_frames - 4)][:batch], dtype=torch.int32)
    return squeeze, (bands, log_gain, lengths, squeeze.dct, squeeze.cos, squeeze.sin)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("gain", [True, False])
def test_the_truth_is_the_squeeze_s_inverse(case, gain):
    squeeze, arguments = problem(**case, gain=gain)
    bands, log_gain, lengths = arguments[:3]
    mask = (torch.arange(bands.shape[1]) < lengths[:, None])[:, None].float()
    scaled = bands * torch.exp(-log_gain) if gain else bands
    expected = squeeze.inverse(scaled.mT, Context(None, mask)) * mask[:, 0].repeat_interleave(squeeze.n_bands, dim=1)
    torch.testing.assert_close(lapped_inverse(*arguments), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("gain", [True, False])
def test_the_kernel_equals_its_truth(case, gain, device):
    _, arguments = problem(**case, gain=gain)
    arguments[0][1, arguments[2][1] :] = float("nan")
    on_device = [None if x is None else x.to(device) for x in arguments]
    with override(lapped_inverse={"BLOCK_F": 16, "BLOCK_N": 16, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2}):
        found = lapped_inverse(*on_device, "triton").cpu()
    torch.testing.assert_close(found, lapped_inverse(*arguments), rtol=1e-5, atol=1e-5)


def test_the_operation_is_well_formed():
    _, arguments = problem(8, n_frames=3)
    torch.library.opcheck(lapped_inverse, arguments)
