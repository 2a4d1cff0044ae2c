"""The scripts do what their docstrings say, at a small size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATA

import waveflow

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_pretraining_learns_goes_on_where_it_stopped_and_leaves_a_checkpoint(tmp_path):
    arguments = ["--data", DATA, "--out", tmp_path, "--model", "lapglow-small", "--batch", 2, "--segment", 4096]
    run("train_pretrained.py", *arguments, "--minutes", 0.1)
    run("train_pretrained.py", *arguments, "--minutes", 0.1, "--cooldown", 0.1)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    ends = [row for row in rows if "bits" in row]
    assert len(ends) == 2
    assert ends[1]["step"] > ends[0]["step"] > 0
    assert ends[1]["ljspeech/nats"] > ends[0]["ljspeech/nats"]
    assert waveflow.load(tmp_path / "model", device="cpu").sample_rate == 22050


@pytest.mark.slow
def test_round_trips_of_full_size_models_are_exact():
    clip = next((DATA / "ljspeech" / "wavs").glob("*.flac"))
    out = run("check_round_trip.py", "lapglow-base", "waveglow-64", clip, "--seconds", 0.5)
    errors = [float(line.split("largest error ")[1].split()[0]) for line in out.splitlines()]
    assert [error < bound for error, bound in zip(errors, [1e-3, 1e-7] * 2, strict=True)] == [True] * 4
