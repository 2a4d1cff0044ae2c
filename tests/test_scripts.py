"""The scripts do what their docstrings say, at a small size."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import DATA
from small_models import small

import waveflow
from waveflow.inference import Vocoder

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_pretraining_learns_goes_on_where_it_stopped_and_leaves_a_checkpoint(tmp_path):
    settings = ["model=lapglow-tiny", "batch=2", "segment=4096", "steps=6", "warmup=1", "rate=1e-3"]
    arguments = ["--data", DATA, "--set", *settings]
    run("train_pretrained.py", *arguments, "--out", tmp_path / "parts", "--until", 3)
    run("train_pretrained.py", *arguments, "--out", tmp_path / "parts")
    run("train_pretrained.py", *arguments, "--out", tmp_path / "whole")
    logs = {
        name: [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("parts", "whole")
    }
    assert [row["step"] for row in logs["parts"]] == [3, 6]
    assert logs["parts"][1]["ljspeech/nats"] > logs["parts"][0]["ljspeech/nats"]
    assert logs["parts"][-1]["ljspeech/nats"] == pytest.approx(logs["whole"][-1]["ljspeech/nats"], abs=1e-2)
    assert waveflow.load(tmp_path / "parts" / "model", device="cpu").sample_rate == 22050


@pytest.mark.slow
def test_round_trips_of_full_size_models_are_exact():
    clip = next((DATA / "ljspeech" / "wavs").glob("*.flac"))
    out = run("check_round_trip.py", "lapglow-base", "waveglow-64", clip, "--seconds", 0.5)
    errors = [float(line.split("largest error ")[1].split()[0]) for line in out.splitlines()]
    assert [error < bound for error, bound in zip(errors, [1e-3, 1e-7] * 2, strict=True)] == [True] * 4


def test_a_model_card_is_not_written_of_some_of_the_clips(monkeypatch):
    card = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "write_model_card.py")))
    clip = DATA / "ljspeech/wavs/LJ001-0002.flac"
    vocoder = Vocoder(small("lapglow"))
    monkeypatch.setattr(type(vocoder), "__call__", lambda self, mel, **_: torch.zeros(256))
    with pytest.raises(ValueError, match=r"model, .*LJ001-0002\.flac: .*expected lengths within"):
        card.measure(vocoder, [clip], rounds=[0], griffin_lim_too=False)
