import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_inverse.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
def test_figures_are_kept_and_shown_again_as_the_same_table(tmp_path):
    kept = tmp_path / "benchmarks" / "figures.json"
    options = ["--model", "lapglow", "--dtype", "float32", "--size", "1x0.2", "--rounds", 1, "--device", "cpu"]
    shown = run(*options, "--json", kept)
    found = json.loads(kept.read_text())
    assert [row["backend"] for row in found["rows"]] == ["reference", "onednn"]
    assert all(row["decibels"] > 60 for row in found["rows"])
    assert run("--table", kept) == shown
    assert shown.count("\n| lapglow |") == 2
