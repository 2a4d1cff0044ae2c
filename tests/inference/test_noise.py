import math

import numpy as np
import pytest
import torch

from waveflow.inference.noise import batch_normal, normal, philox, seeds_of


def words(counter, seed):
    return [hex(w) for w in philox(torch.tensor([counter]), seed)[:, 0].tolist()]


def test_philox_gives_the_published_answers():
    # The first known-answer vector of Random123's Philox4x32-10.
    assert words(0, 0) == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_philox_agrees_with_python_integers():
    def plain(counter, key):
        c = [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        k = [key & 0xFFFFFFFF, key >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        return [hex(w) for w in c]

    for counter, seed in ((1, 2), (2**33 + 5, 2**64 - 1), (123456789, 2**40 + 17)):
        assert words(counter, seed) == plain(counter, seed)


def test_a_sample_does_not_depend_on_the_chunk_it_is_drawn_in():
    whole = normal(3, 0, 5000)
    for start, n in ((0, 1), (1, 1), (3, 2), (777, 1001), (4998, 2)):
        assert torch.equal(normal(3, start, n), whole[start : start + n])


def test_noise_is_standard_normal_and_white():
    x = normal(5, 0, 400_000).double()
    assert abs(x.mean()) < 4 / math.sqrt(len(x))
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / len(x))
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / len(x))
    for lag in (1, 2, 3, 4, 8):
        assert abs((x[lag:] * x[:-lag]).mean()) < 4 / math.sqrt(len(x))
    below = (x < 1).double().mean()
    assert abs(below - 0.841345) < 4 * math.sqrt(0.8413 * 0.1587 / len(x))


def test_seeds_differ_and_positions_beyond_32_bits_work():
    assert not torch.equal(normal(0, 0, 64), normal(1, 0, 64))
    assert not torch.equal(normal(0, 4 * 2**32, 64), normal(0, 0, 64))


def test_a_batch_holds_what_each_seed_gives_alone():
    batch = batch_normal([7, 9, 7], 10, 50)
    assert torch.equal(batch[0], normal(7, 10, 50))
    assert torch.equal(batch[1], normal(9, 10, 50))
    assert torch.equal(batch[2], batch[0])


def test_seeds_are_one_for_all_or_one_each_or_fresh():
    assert seeds_of(4, 3) == [4, 4, 4]
    assert seeds_of([1, 2], 2) == [1, 2]
    assert len(set(seeds_of(None, 3))) == 3
    with pytest.raises(ValueError, match="2 seeds were given for a batch of 3"):
        seeds_of([1, 2], 3)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint64(3), torch.tensor(3), torch.tensor([3, 3]), np.array([3, 3])])
def test_a_seed_may_be_any_kind_of_whole_number(seed):
    assert seeds_of(seed, 2) == [3, 3]
    assert {type(s) for s in seeds_of(seed, 2)} == {int}


@pytest.mark.parametrize("seed", [1.5, 3.0, "3", torch.tensor(1.5), [1.5], np.array([1.5]), object()])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="expected a whole number, 0 to 2"):
        seeds_of(seed, 1)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="expected 0 to 2"):
        normal(seed, 0, 4)


@pytest.mark.parametrize(("start", "n"), [(0, 1), (3, 10), (2**33 + 5, 4099)])
def test_the_cpu_s_compiled_noise_is_the_reference_to_the_bit(start, n):
    seeds = [0, 2**64 - 1, 0, 12345]
    assert torch.equal(batch_normal(seeds, start, n, backend="onednn"), batch_normal(seeds, start, n))
