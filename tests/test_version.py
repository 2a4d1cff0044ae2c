"""The version, which is written in three places, is one."""

import re
from pathlib import Path

import pytest

import waveflow

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("CITATION.cff", r"^version: (.+)$"),
        ("cuda_ext/waveflow_cuda/__init__.py", r'^__version__ = "(.+)"$'),
        ("CHANGELOG.md", r"^## (.+)$"),
    ],
)
def test_a_file_names_the_version_of_the_package(path, pattern):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(pattern, text, re.M)[1] == waveflow.__version__
