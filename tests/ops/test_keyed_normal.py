import pytest
import torch

from waveflow.inference.noise import batch_normal, normal
from waveflow.ops.keyed_normal import keyed_normal

SEEDS = [0, 5, 2**32 + 1, 2**63 + 11, 2**64 - 1]


@pytest.mark.parametrize(("start", "n"), [(0, 1), (3, 2), (5, 1999), (1, 4), (2**35 + 3, 777)])
def test_the_kernel_draws_what_its_truth_draws(start, n, device):
    found = batch_normal(SEEDS, start, n, device=device, backend="triton").cpu()
    expected = torch.stack([normal(seed, start, n) for seed in SEEDS])
    # Logarithm, sine and cosine may differ in the last place; one wrong bit of a key would change everything.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_a_sample_does_not_depend_on_the_chunk_it_is_drawn_in(device):
    whole = batch_normal([3], 0, 3000, device=device, backend="triton")
    for start, n in ((1, 1), (777, 1001), (2998, 2)):
        assert torch.equal(batch_normal([3], start, n, device=device, backend="triton"), whole[:, start : start + n])


def test_no_samples_are_no_error(device):
    assert batch_normal([3], 8, 0, device=device, backend="triton").shape == (1, 0)


def test_the_operation_is_well_formed():
    torch.library.opcheck(keyed_normal, (torch.tensor([1, -2]), 3, 10))
