"""What pages and docstrings name is there, under that name."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cuda_ext", "docs", "recipes", "scripts", "tests", "waveflow")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.md")))]


def named(pattern, paths):
    """What a pattern finds in some files, each with the file that has it."""
    return [(path.name, name) for path in paths for name in re.findall(pattern, path.read_text(encoding="utf-8"))]


def exists(name):
    """Whether a dotted name leads to something, through modules and then through attributes."""
    first, *parts = name.split(".")
    found = importlib.import_module(first)
    for part in parts:
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except (AttributeError, ImportError):
                return False
        found = getattr(found, part)
    return True


def test_what_is_named_in_the_package_is_there():
    names = named(r"`(waveflow(?:\.\w+)+)`", [*SOURCES, *PAGES])
    assert [pair for pair in names if not exists(pair[1])] == []


def test_files_of_python_that_pages_name_are_there():
    files = [f"/{path.relative_to(ROOT).as_posix()}" for path in SOURCES]
    names = named(r"`([\w/]+\.py)`", PAGES)
    assert [pair for pair in names if not any(file.endswith(f"/{pair[1]}") for file in files)] == []
