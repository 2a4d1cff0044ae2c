import subprocess
import sys

import pytest
import torch
from small_models import small

from waveflow.inference import Vocoder

CODE = """
import resource, sys, torch
sys.path.insert(0, sys.argv[1])
from small_models import small
from waveflow.inference import Vocoder
vocoder = Vocoder(small("lapglow"))
frames = int(float(sys.argv[2]) * 22050 / 256)
audio = vocoder(torch.randn(80, frames) - 5, seed=1)
assert audio.shape == (frames * 256,) and audio.isfinite().all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_megabytes(seconds):
    from conftest import DATA

    command = [sys.executable, "-c", CODE, str(DATA.parent), str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_an_hour_of_audio_needs_little_more_than_its_own_samples():
    hour, seconds = peak_megabytes(3600), peak_megabytes(20)
    samples = 3600 * 22050 * 4 / 2**20
    # Twice the audio while its chunks are joined, a mel of a third of it, and working room.
    assert hour - seconds < 3 * samples


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_hour_of_audio_needs_little_more_than_its_own_samples_on_a_gpu():
    vocoder = Vocoder(small("lapglow"), device="cuda", backend="triton")
    peaks = []
    for seconds in (40, 3600):
        mel = torch.randn(80, int(seconds * 22050 / 256), device="cuda") - 5
        torch.cuda.reset_peak_memory_stats()
        assert vocoder(mel, seed=1).isfinite().all()
        peaks.append(torch.cuda.max_memory_allocated())
        del mel
    assert peaks[1] - peaks[0] < 3 * 3600 * 22050 * 4
