import json
import threading

import pytest
import torch

from waveflow.ops import tuning

CPU = torch.device("cpu")
ENTRIES = {
    "kernel": [
        {"channels": 64, "rows": 10, "config": {"BLOCK_T": 1}},
        {"channels": 64, "config": {"BLOCK_T": 2}},
        {"size": 2, "config": {"BLOCK_T": 3}},
    ]
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "FOLDER", tmp_path)
    tuning._read.cache_clear()
    yield tmp_path
    tuning._read.cache_clear()


@pytest.mark.parametrize(
    ("channels", "size", "rows", "block"),
    [(64, 2, 10, 1), (64, 4, 11, 2), (32, 2, 5, 3)],
)
def test_the_first_entry_that_applies_is_taken(folder, channels, size, rows, block):
    tuning.write("sm_90", ENTRIES)
    (folder / "sm-90.json").rename(folder / "sm_90.json")
    tuning._read.cache_clear()
    config = tuning.configuration("kernel", CPU, channels=channels, size=size, rows=rows)
    assert config == {"BLOCK_T": block}


def test_no_entry_is_an_error_that_names_what_was_asked(folder):
    with pytest.raises(RuntimeError, match="no configuration of kernel fits channels=32, size=4, rows=5"):
        tuning.configuration("kernel", CPU, channels=32, size=4, rows=5)


def test_what_was_written_is_plain_json_of_the_device_s_name(folder):
    path = tuning.write("NVIDIA H200", ENTRIES)
    assert path.name == "nvidia-h200.json"
    assert json.loads(path.read_text()) == ENTRIES


def test_an_override_is_no_affair_of_other_threads():
    found = []
    with tuning.override(lapped_inverse={"BLOCK_T": 7}):
        asked = threading.Thread(
            target=lambda: found.append(tuning.configuration("lapped_inverse", CPU, channels=256, size=4, rows=32))
        )
        asked.start()
        asked.join()
    assert found != [{"BLOCK_T": 7}]


def test_an_override_ends_with_its_block():
    with tuning.override(kernel={"BLOCK_T": 7}):
        assert tuning.configuration("kernel", CPU, channels=1, size=2, rows=1) == {"BLOCK_T": 7}
    with pytest.raises(RuntimeError):
        tuning.configuration("kernel", CPU, channels=1, size=2, rows=1)


@pytest.mark.parametrize("generation", ["sm_80", "sm_90"])
@pytest.mark.parametrize("kernel", ["wavenet_layer", "coupling_inverse", "lapped_inverse"])
@pytest.mark.parametrize("size", [2, 4])
def test_every_kernel_has_a_default_for_any_width_and_length(generation, kernel, size):
    size = size if kernel == "wavenet_layer" else 4
    with tuning.assume(generation):
        for channels in (8, 192, 256, 512):
            for rows in (1, 100, 10**6):
                assert tuning.configuration(kernel, CPU, channels=channels, size=size, rows=rows)
