"""The scripts for the day a GPU is there, on a CPU: on machines without sound libraries, at a small size."""

import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from waveflow.checkpoints import native
from waveflow.inference import bundled_models
from waveflow.inference.likeness import likeness
from waveflow.inference.loading import find_checkpoint

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "gpu"

# Runs scripts one after another in a process in which some libraries are not installed.
RUNNER = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"librosa", "soundfile", "hydra", "omegaconf"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
for line in sys.argv[2:]:
    sys.argv = line.split()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, line
"""


@pytest.mark.slow
def test_the_scripts_run_without_sound_libraries_and_keep_every_row(tmp_path):
    pytest.importorskip("triton", reason="Triton is part of PyTorch's builds for Linux alone")
    out, tiny = f"--device cpu --output {tmp_path}", "--waveglow waveglow-toy --lapglow lapglow-toy"
    lines = [
        f"{SCRIPTS}/parity.py {out} --model lapglow-toy --dtype float16 --seconds 0.005 --backend reference triton",
        f"{SCRIPTS}/benchmark.py {out} --small --seconds 0 --model lapglow-toy nothing --dtype float32 --size 1x0.01",
        f"{SCRIPTS}/profile_inverse.py {out} --model lapglow-toy --size 1x0.005",
        f"{SCRIPTS}/autotune.py {out} {tiny} --longest 40 --minutes 0.15 --dtype float16",
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, SCRIPTS, *lines], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {path.name.split("-")[0]: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert {row["backend"]: row["decibels"] > 60 for row in found["parity"]["models"]} == {
        "reference": True,
        "triton": True,
    }
    rows = {(row["model"], row["backend"]): row for row in found["benchmark"]["rows"]}
    assert rows["lapglow-toy", "triton"]["decibels"] > 60
    assert rows["lapglow-toy", "triton"]["times_the_reference"] > 0
    assert "nothing" in rows["nothing", "triton"]["error"]
    assert found["profile"]["kernels"]
    tried = found["autotune"]["jobs"][0]["ms"]
    assert tried, "how many depends on the machine"
    chosen = json.loads((tmp_path / f"{platform.machine().replace('_', '-')}.json").read_text())
    assert json.dumps(chosen["wavenet_layer"][0]["config"]) == min(tried, key=tried.get)


def test_a_bundled_model_is_measured_under_its_name(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    setting = importlib.import_module("setting")
    for name in bundled_models():
        assert likeness(setting.model(name)) == likeness(native.load(find_checkpoint(name)))


def test_run_all_names_its_pieces():
    done = subprocess.run(["bash", SCRIPTS / "run_all.sh", "everything"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no piece is called everything; there are extension, tests, parity" in done.stderr
