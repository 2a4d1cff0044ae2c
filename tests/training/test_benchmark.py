"""`scripts/benchmark_train.py`, at a small size, on a machine without the packages that a GPU machine may lack."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--model", "lapglow", "--set", "n_channels=8", "n_flows=1", "--batch", "2", "--segment", "4096"]
SHORT = ["--device", "cpu", "--steps", "1", "--warmup", "0", "--matrix", "64"]
BARE = textwrap.dedent("""
    import runpy, sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("librosa", "soundfile", "hydra", "omegaconf", "tensorboard", "rich", "typer"):
                raise ImportError(f"{name} is absent")

    sys.meta_path.insert(0, Absent())
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
""")


def run(tmp_path, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "scripts/benchmark_train.py")
    command = [sys.executable, "-c", BARE, script, *SMALL, *SHORT, *arguments, "--json", str(tmp_path / "found.json")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return json.loads((tmp_path / "found.json").read_text())


@pytest.mark.slow
def test_rows_have_speed_share_of_the_ceiling_and_memory(tmp_path):
    found = run(tmp_path, "--spectral-share", "0.5", "--only", "float32", "bf16 + reversible")
    assert [row["setting"] for row in found["rows"]] == ["float32", "bf16 + reversible"]
    for row in found["rows"]:
        ceiling = found["ceiling_tflops"]["bf16" if "bf16" in row["setting"] else "float32"]
        assert row["share_of_ceiling"] == pytest.approx(row["tflops"] / ceiling)
        assert row["tflops"] == pytest.approx(found["operations"] * row["steps_per_s"] / 1e12)
        assert row["audio_s_per_s"] == pytest.approx(row["steps_per_s"] * 2 * 4096 / 22050)


@pytest.mark.slow
def test_activations_stay_flat_over_flows_where_they_are_recomputed(tmp_path):
    few, many = run(tmp_path, "--activations", "--flows", "4", "12")["rows"]
    assert many["reversible_mib"] < 1.05 * few["reversible_mib"]
    assert many["stored_mib"] > 2 * few["stored_mib"]
