import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "benchmarks" / "cuda_ahead_of_time.json").read_text())
KERNELS = {"layer_kernel", "coupling_kernel", "lapped_kernel", "normal_kernel", "lapglow_kernel"}


def test_the_kernels_compile_for_a_device_that_is_not_there(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc, of the CUDA toolkit, to compile the CUDA kernels")
    command = [sys.executable, ROOT / "scripts" / "gpu" / "compile_cuda.py", "--one-width", "--arch", "sm_80"]
    done = subprocess.run([*command, "--output", tmp_path / "table.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "table.json").read_text())["kernels"]
    assert {row["kernel"].split("<")[0] for row in rows} == KERNELS
    assert [row for row in rows if row["spill_stores"] or row["stack"]] == []


def test_the_recorded_kernels_keep_all_they_hold_in_registers():
    assert {row["arch"] for row in RECORD["kernels"]} == {"sm_80", "sm_90"}
    assert {row["kernel"].split("<")[0] for row in RECORD["kernels"]} == KERNELS
    assert [row for row in RECORD["kernels"] if row["spill_stores"] or row["spill_loads"] or row["stack"]] == []


def test_the_recorded_layouts_fit_the_shared_memory_of_the_devices():
    # sm_80 gives a block 163 KB, sm_90 227 KB; three stages of WaveGlow-256 are for the latter alone.
    for name, size in RECORD["shared"].items():
        assert size <= (227 if "3 stages" in name else 163) * 1024, name


def test_importing_waveflow_neither_needs_nor_builds_the_extension():
    code = "import sys, waveflow; sys.exit('waveflow_cuda' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert importlib.util.find_spec("waveflow.ops.recorded") is not None
