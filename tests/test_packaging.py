"""What the files around the package say of it: one version, and every dependency."""

import ast
import re
import sys
from pathlib import Path

import pytest

import waveflow

ROOT = Path(__file__).resolve().parent.parent
# Distributions whose modules are called otherwise; Triton comes with PyTorch where there is one.
NAMED_OTHERWISE = {"yaml": "pyyaml", "pil": "pillow", "sklearn": "scikit-learn", "hydra": "hydra-core"}
NOT_REQUIRED = {"triton", "waveflow_cuda"}


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


def requirements():
    """The names that pyproject.toml requires, by extra; of the package itself under None."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or later")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {None: project["dependencies"], **project["optional-dependencies"]}
    return {extra: {re.match(r"[\w-]+", text)[0].lower() for text in texts} for extra, texts in lists.items()}


def imported(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("waveflow", {"metrics", "ode", "export", "hub", "bench", "serve", "ray", "demo"}),
        ("waveflow/serve", {"serve", "ray"}),
        ("waveflow/demo", {"demo"}),
        ("recipes", {"metrics", "recipes"}),
        ("scripts/research", {"metrics", "research"}),
    ],
)
def test_what_a_folder_imports_is_required(folder, extras):
    required = requirements()
    top = ROOT / folder.split("/")[0]
    # The recipes and scripts import what lies beside them by its name alone.
    beside = {"waveflow"} if top.name == "waveflow" else {"waveflow", *(path.stem for path in top.rglob("*"))}
    names = {*imported(folder)} - sys.stdlib_module_names - NOT_REQUIRED - beside
    wanted = {NAMED_OTHERWISE.get(name.lower(), name.lower()) for name in names}
    assert sorted(wanted - required[None].union(*(required[extra] for extra in extras))) == []
