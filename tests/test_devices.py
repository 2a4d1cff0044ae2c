"""Where `auto` computes."""

import pytest
import torch

import waveflow
from waveflow.devices import device_of


@pytest.mark.parametrize("there", [False, True])
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of("auto") == torch.device("cuda" if there else "cpu")


def test_a_device_that_is_named_is_taken():
    assert device_of("cuda:1") == torch.device("cuda", 1)
    assert device_of(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(RuntimeError, match="gpu"):
        device_of("gpu")


@pytest.mark.parametrize("nowhere", [None, "meta", torch.device("meta")], ids=str)
def test_where_nothing_is_computed_is_refused_by_name(nowhere):
    with pytest.raises(ValueError, match="expected one that computes: 'auto', 'cpu'"):
        device_of(nowhere)
    with pytest.raises(ValueError, match="expected one that computes"):
        waveflow.load("lapglow-tiny", device=nowhere)
