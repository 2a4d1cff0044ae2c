"""Markdown that people read in an editor: its lines end before the window does."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cuda_ext", "docs", "recipes", "scripts", "tests", "waveflow")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
LONGEST = 127
# Tables, formulas and code cannot be broken, whether they are indented or fenced.
UNBREAKABLE = re.compile(r"^ *(```|~~~)[^\n]*\n.*?^ *\1$|^\$\$$.*?^\$\$$|^(?: {4}|\t| *\|| *!\[)[^\n]*$", re.M | re.S)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_of_prose_is_too_long(path):
    text = path.read_text(encoding="utf-8")
    assert [line for line in UNBREAKABLE.sub("", text).splitlines() if len(line) > LONGEST] == []
