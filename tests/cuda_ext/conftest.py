"""The CUDA kernels' arithmetic on the CPU: their sources compiled as plain C++."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from waveflow.ops import dispatch

EXTENSION = Path(__file__).resolve().parents[2] / "cuda_ext"


@pytest.fixture(scope="session")
def host_library(tmp_path_factory):
    """The kernels as loops over blocks, which `waveflow_cuda` loads in place of those for a GPU."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile the CUDA kernels for the CPU")
    target = tmp_path_factory.mktemp("host") / "libwaveflow_host.so"
    source = EXTENSION / "csrc" / "host.cpp"
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", target, source]
    done = subprocess.run(command, capture_output=True, text=True)
    if "_Float16" in done.stderr:
        pytest.skip("this g++ has no _Float16 in C++; version 12 has")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def host_kernels(host_library, monkeypatch):
    """Make backend `cuda` run the host's kernels, for tensors on the CPU."""
    monkeypatch.syspath_prepend(str(EXTENSION))
    module = importlib.import_module("waveflow_cuda.library")
    monkeypatch.setattr(module, "NAME", str(host_library))
    module.library.cache_clear()
    dispatch.implementation.cache_clear()
    yield module
    dispatch.implementation.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "waveflow_cuda"]:
        del sys.modules[name]
