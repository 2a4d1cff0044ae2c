import numpy as np
import pytest
import torch

from waveflow.audio.quantizing import pcm, quantize


@pytest.mark.parametrize("bits", [16, 24])
def test_integers_come_back_bit_for_bit_and_what_is_beyond_them_clips(bits):
    full = 1 << (bits - 1)
    integers = torch.tensor([-full, 1 - full, -1, 0, 1, full // 3, full - 1])
    assert quantize(integers.double() / full, bits).tolist() == integers.tolist()
    assert quantize(np.array([-9.0, 1.0, 9.0]), bits).tolist() == [-full, full - 1, full - 1]


def test_bare_samples_are_little_endian():
    assert pcm(torch.tensor([1 / 32768, -1.0])) == b"\x01\x00\x00\x80"
