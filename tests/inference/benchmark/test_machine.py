import subprocess
import sys

import pytest
import torch

from waveflow.inference.benchmark.machine import CLEAR, clocked, percentile

CPU = torch.device("cpu")


# In a process of its own, where nothing else gives memory back meanwhile.
MEASURED = """
import torch
from waveflow.inference.benchmark.machine import MemoryGauge

gauge = MemoryGauge(torch.device("cpu"))
gauge.reset()
before = gauge.now()
torch.ones(16 << 20)
print(gauge.peak() - before)
gauge.reset()
print(gauge.peak() - before)
"""


@pytest.mark.skipif(not CLEAR.exists(), reason="the system does not tell a process's highest use of memory")
def test_the_gauge_sees_memory_that_was_given_back():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    used, left = map(float, done.stdout.split())
    assert 60e6 < used < 120e6
    assert left < 30e6


def test_percentiles_are_values_that_were_measured():
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([3.0, 1.0], 50) == 1
    assert percentile([3.0, 1.0], 90) == 3


def test_runs_are_counted_at_least_and_at_most():
    calls = []
    assert len(clocked(lambda: calls.append(1), CPU, 0.0, least=3)) == 3
    assert len(clocked(lambda: calls.append(1), CPU, 60.0, most=5)) == 5
    assert len(calls) == 8
