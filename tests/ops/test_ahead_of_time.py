import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "benchmarks" / "ahead_of_time.json").read_text())["kernels"]
KERNELS = {
    "wavenet_layer": {"wavenet_layer", "wavenet_layer (last)", "wavenet_first"},
    "coupling_inverse": {"coupling_inverse"},
    "lapped_inverse": {"lapped_inverse"},
    "keyed_normal": {"keyed_normal"},
}
# Spilled bytes that the default tiles are known to cost; every other kernel keeps all it holds in registers.
SPILLS = {
    ("sm_80", "wavenet_first", "waveglow-256"): 4,
    ("sm_80", "wavenet_layer", "waveglow-256"): 4,
    ("sm_90", "wavenet_first", "waveglow-256"): 216,
    ("sm_90", "wavenet_layer", "waveglow-256"): 48,
    ("sm_90", "wavenet_layer (last)", "waveglow-256"): 112,
    ("sm_90", "lapped_inverse", "lapglow-base"): 192,
}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_compiles_for_every_device_in_every_precision(kernel, arch):
    assert (ROOT / "waveflow" / "ops" / kernel / "triton.py").exists()
    for what in KERNELS[kernel]:
        rows = [row for row in ROWS if row["kernel"] == what and row["arch"] == arch]
        assert {row["dtype"] for row in rows} == {"bf16", "fp16", "fp32"}
        assert [row for row in rows if not row["fits"] or row["blocks_per_sm"] < 1 or row["serialized"]] == []


def test_every_folder_of_an_operation_is_in_the_table():
    folders = {path.parent.name for path in (ROOT / "waveflow" / "ops").glob("*/triton.py")}
    assert folders == set(KERNELS)


def test_kernels_spill_no_more_than_is_said():
    for row in ROWS:
        allowed = SPILLS.get((row["arch"], row["kernel"], row["model"]), 0)
        assert row["spill_stores"] <= allowed, row


def test_matrix_products_run_on_the_tensor_cores():
    for row in ROWS:
        assert bool(row["matrix_instructions"]) == (row["kernel"] != "keyed_normal"), row


def test_the_page_holds_the_tables_of_the_files():
    specification = importlib.util.spec_from_file_location("write_tables", ROOT / "scripts" / "gpu" / "write_tables.py")
    tables = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tables)
    page = tables.PAGE.read_text()
    for name in ("measured", "triton", "cuda"):
        assert tables.replaced(page, name, tables.TABLES[name]()) == page, f"run {tables.__file__} --only {name}"
