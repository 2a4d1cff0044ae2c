import logging
import sys
import types

import pytest
import torch
from small_models import small

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


def test_unproved_kernels_are_not_taken_unasked(folder, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(backends, "unavailable", lambda backend, device: None)
    monkeypatch.setattr(backends, "pack", lambda model, dtype, device: None)
    monkeypatch.setattr(backends, "PlannedInverse", lambda flow, backend: backend)
    monkeypatch.setattr(backends, "parity", lambda inverse, model: 90.0)

    def taken(*fastest):
        monkeypatch.setattr(backends, "FASTEST", {"cuda": fastest})
        return backends.inverse_by(small("lapglow"), "auto", torch.device("cuda"), torch.float16)[1]

    with caplog.at_level(logging.INFO, logger="waveflow"):
        assert taken("cuda") == "reference"
    assert "backend cuda passed over: they have not been tested on NVIDIA H200" in caplog.text
    assert taken("cuda", "triton") == "triton"
    recorded.record("NVIDIA H200", ["float16"])
    assert taken("cuda", "triton") == "cuda"


def test_single_precision_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda backend, device: None)
    with pytest.raises(ValueError, match=r"'cuda' has no kernels for torch.float32; take float16 or bfloat16"):
        backends.inverse_by(small("lapglow"), "cuda", torch.device("cuda"), torch.float32)
