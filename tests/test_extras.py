"""Packages of extras, where they are missing."""

import sys

import pytest

from waveflow.extras import MissingExtra, require


def test_a_module_that_is_there_is_imported():
    assert require("json.decoder", "metrics").JSONDecoder


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"matplotlib is not installed; .* pip install 'waveflow\[metrics\]'"):
        require("matplotlib", "metrics")
    with pytest.raises(MissingExtra, match="package nonesuch_at_all is not installed"):
        require("nonesuch_at_all", "metrics")


def test_a_package_that_is_there_and_broken_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("raise ImportError('symbol not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="symbol not found") as caught:
        require("broken_package", "metrics")
    assert not isinstance(caught.value, MissingExtra)
