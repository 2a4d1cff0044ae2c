import builtins
import sys

import pytest
import torch

from waveflow.ops import BACKENDS, implementation, unavailable
from waveflow.ops.keyed_normal import keyed_normal

OPS = {
    "wavenet_layer": ("wavenet_layer", "wavenet_first"),
    "coupling_inverse": ("coupling_inverse",),
    "lapped_inverse": ("lapped_inverse",),
    "keyed_normal": ("keyed_normal",),
}


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("op", OPS)
def test_every_operation_has_every_backend(op, backend, device):
    for name in OPS[op]:
        assert implementation(op, backend, name).__name__ == name


def test_the_reference_runs_anywhere():
    assert unavailable("reference", "cpu") is None


def test_kernels_without_a_gpu_say_what_they_need(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "need a CUDA device, and this is 'cpu'" in unavailable("triton", "cpu")


def test_a_missing_extension_names_its_build(monkeypatch):
    monkeypatch.setitem(sys.modules, "waveflow_cuda", None)
    assert "pip install" in unavailable("cuda", "cuda")
    implementation.cache_clear()
    with pytest.raises(RuntimeError, match=r"'cuda' was asked for, but .*pip install"):
        keyed_normal(torch.tensor([1]), 0, 4, "cuda")


def test_an_unknown_backend_is_named():
    for ask in (lambda: unavailable("tpu", "cpu"), lambda: implementation("keyed_normal", "tpu")):
        with pytest.raises(ValueError, match="'tpu'"):
            ask()
    assert BACKENDS[0] == "reference"


def test_importing_the_operations_imports_no_kernels(monkeypatch):
    loaded = []
    plain = builtins.__import__

    def watch(name, *args, **kwargs):
        loaded.append(name)
        return plain(name, *args, **kwargs)

    for name in [m for m in sys.modules if m.startswith("waveflow.ops")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", watch)
    assert unavailable("reference", "cpu") is None
    assert not [name for name in loaded if name.split(".")[0] == "triton"]
