import sys
import types

import pytest
import torch

from waveflow.inference import backends
from waveflow.ops import recorded


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    monkeypatch.setitem(sys.modules, "waveflow_cuda", types.SimpleNamespace(__version__="1.0"))
    return tmp_path


def test_a_device_nobody_tried_has_no_proof(folder):
    assert "not been tested on NVIDIA H200; run `python scripts/gpu/parity.py" in recorded.unproved(
        "NVIDIA H200", torch.float16
    )


def test_a_proof_counts_for_its_precisions_device_and_versions(folder, monkeypatch):
    recorded.record("NVIDIA H200", ["float16"])
    assert recorded.unproved("NVIDIA H200", torch.float16) is None
    assert "did not keep their bounds in torch.bfloat16" in recorded.unproved("NVIDIA H200", torch.bfloat16)
    assert recorded.unproved("NVIDIA A100", torch.float16) is not None
    monkeypatch.setattr(sys.modules["waveflow_cuda"], "__version__", "1.1")
    assert "'waveflow_cuda': '1.1'" in recorded.unproved("NVIDIA H200", torch.float16)


def test_unproved_kernels_are_not_taken_unasked(folder, monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda backend, device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    with pytest.raises(RuntimeError, match="have not been tested on NVIDIA H200"):
        backends._require_proof("cuda", torch.device("cuda"), torch.float16)
    recorded.record("NVIDIA H200", ["float16"])
    backends._require_proof("cuda", torch.device("cuda"), torch.float16)
    backends._require_proof("triton", torch.device("cuda"), torch.float16)


def test_single_precision_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda backend, device: None)
    with pytest.raises(ValueError, match=r"'cuda' has no kernels for torch.float32; take float16 or bfloat16"):
        backends._require(None, "cuda", torch.device("cuda"), torch.float32)
