import importlib.util
import sys

import pytest
import torch

from waveflow.audio import io
from waveflow.data import runners
from waveflow.data.cleaning import CleaningConfig, SetAside
from waveflow.data.discovery import Recording
from waveflow.data.preprocess import preprocess
from waveflow.extras import MissingExtra

PRODUCTS = ("manifest.jsonl", "report.json", "report.csv")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray, the extra waveflow[ray]")


@pytest.fixture
def clip(tmp_path):
    io.write(tmp_path / "clip.wav", 0.1 * torch.randn(22050), 22050)
    return Recording("anna/clip", tmp_path / "clip.wav", "anna")


def failing(times, error):
    """`clean_file`, but for an error the first so many times; and how often it was called."""
    real, calls = runners.clean_file, []

    def clean(*arguments):
        calls.append(arguments)
        if len(calls) <= times:
            raise error
        return real(*arguments)

    return clean, calls


@pytest.mark.parametrize("error", [RuntimeError("odd"), SetAside("unreadable", "half a file"), OSError(5, "I/O error")])
def test_a_recording_that_fails_once_is_tried_again(clip, tmp_path, monkeypatch, error):
    clean, calls = failing(1, error)
    monkeypatch.setattr(runners, "clean_file", clean)
    record = runners.clean_one(clip, tmp_path / "out", CleaningConfig())
    assert record["n_samples"] == 22050
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("error", "reason"), [(RuntimeError("odd"), "failed"), (SetAside("unreadable", "half a file"), "unreadable")]
)
def test_a_recording_that_fails_twice_is_set_aside(clip, tmp_path, monkeypatch, error, reason):
    clean, calls = failing(9, error)
    monkeypatch.setattr(runners, "clean_file", clean)
    record = runners.clean_one(clip, tmp_path / "out", CleaningConfig())
    assert record["reason"] == reason
    assert len(calls) == 2


def test_what_is_sure_is_not_tried_again(clip, tmp_path, monkeypatch):
    clean, calls = failing(9, SetAside("silent", "peak 0"))
    monkeypatch.setattr(runners, "clean_file", clean)
    assert runners.clean_one(clip, tmp_path / "out", CleaningConfig())["reason"] == "silent"
    assert len(calls) == 1


def test_an_unforeseen_error_is_reported_and_the_rest_kept(clip, tmp_path, monkeypatch):
    io.write(clip.path.with_name("other.wav"), 0.1 * torch.randn(22050), 22050)
    real = runners.clean_file

    def clean(source, *rest):
        if source.stem == "clip":
            raise RuntimeError("odd")
        return real(source, *rest)

    monkeypatch.setattr(runners, "clean_file", clean)
    report = preprocess([tmp_path], tmp_path / "out", speaker="anna")
    assert [entry.id for entry in report.manifest.entries] == ["anna/other"]
    assert [(r.id, r.reason, r.detail) for r in report.rejected] == [("anna/clip", "failed", "RuntimeError: odd")]


def test_an_unknown_runner_is_refused(clip, tmp_path):
    with pytest.raises(ValueError, match="expected one of local, ray"):
        preprocess([tmp_path], tmp_path / "out", runner="spark")


def test_without_ray_the_extra_is_named(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'waveflow\[ray\]'"):
        preprocess([tmp_path], tmp_path / "out", runner="ray")


@needs_ray
@pytest.mark.slow
def test_ray_makes_the_same_corpus_as_this_machine_and_goes_on_where_it_was_stopped(recordings, tmp_path):
    import ray

    folder, bad = recordings
    for index in range(20):
        io.write(folder / f"more{index:02}.wav", 0.1 * torch.randn(12000), 22050)
    preprocess([folder], tmp_path / "local")
    try:
        preprocess([folder], tmp_path / "ray", runner="ray", workers=1)
        lines = (tmp_path / "ray/.progress.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / "ray/.progress.jsonl").write_bytes(b"".join(lines[:9]))
        resumed = []
        report = preprocess(
            [folder], tmp_path / "ray", runner="ray", workers=1, on_progress=lambda *n: resumed.append(n)
        )
    finally:
        ray.shutdown()
    assert len(resumed) == len(lines) - 9
    assert {rejected.id.split("/")[1]: rejected.reason for rejected in report.rejected} == bad
    for name in PRODUCTS:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
