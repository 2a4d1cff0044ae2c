import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from conftest import DATA

from waveflow.audio import io
from waveflow.data import runners as module
from waveflow.data.cleaning import CleaningConfig
from waveflow.data.manifest import Manifest
from waveflow.data.preprocess import preprocess

MADE = ("manifest.jsonl", "report.json", "report.csv")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def products(folder):
    return {name: data for name, data in contents(folder).items() if not name.startswith(".")}


def test_bad_recordings_are_set_aside_with_their_reasons_and_the_others_kept(recordings, tmp_path):
    folder, bad = recordings
    report = preprocess([folder], tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    assert report.manifest == manifest
    assert [e.id for e in manifest.entries] == [f"recordings/{n}" for n in ("a", "b", "c", "surround")]
    reasons = {rejected.id.split("/")[1]: rejected.reason for rejected in report.rejected}
    assert reasons == bad

    facts = json.loads((tmp_path / "out/report.json").read_text())
    assert (facts["found"], facts["kept"]) == (10, 4)
    assert facts["set_aside"]["too short"] == 1
    assert facts["notes"] == {"upsampled": 3}
    with open(tmp_path / "out/report.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["recordings/text"]["path"] == str(folder / "text.wav")
    assert "it holds text" in rows["recordings/text"]["detail"]


def test_manifest_says_what_the_files_are(corpus):
    assert corpus.speakers == ["kathleen", "ljspeech"]
    assert len(corpus.entries) == 6
    for entry in corpus.entries:
        audio, rate = io.read(corpus.path(entry))
        assert (len(audio), rate) == (entry.n_samples, entry.sample_rate)
        assert entry.duration == pytest.approx(entry.n_samples / rate, abs=1e-6)
    texts = {entry.id: entry.text for entry in corpus.entries}
    assert texts["ljspeech/LJ001-0002"] == "in being comparatively modern."


@pytest.mark.slow
def test_worker_processes_give_what_one_process_gives(recordings, tmp_path):
    folder, _ = recordings
    seen = []
    preprocess([folder], tmp_path / "one", CleaningConfig(trim_db=40))
    preprocess([folder], tmp_path / "two", CleaningConfig(trim_db=40), workers=2, on_progress=lambda *n: seen.append(n))
    assert products(tmp_path / "one") == products(tmp_path / "two")
    assert seen == [(n, 10) for n in range(1, 11)]


def test_second_run_does_nothing_again(recordings, tmp_path, monkeypatch):
    folder, _ = recordings
    preprocess([folder], tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(module, "clean_file", None)
    preprocess([folder], tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_added_changed_and_lost_recordings_are_done_and_no_others(recordings, tmp_path, monkeypatch):
    folder, _ = recordings
    first = preprocess([folder], tmp_path / "out", validation=0.3)
    splits = {entry.id: entry.split for entry in first.manifest.entries}
    io.write(folder / "d.wav", 0.1 * torch.randn(16000), 16000)
    io.write(folder / "b.wav", 0.1 * torch.randn(20000), 16000)
    (tmp_path / "out/audio/recordings/c.flac").unlink()
    (folder / "text.wav").unlink()
    done = []
    real = module.clean_file
    monkeypatch.setattr(module, "clean_file", lambda source, *rest: done.append(source.stem) or real(source, *rest))
    second = preprocess([folder], tmp_path / "out", validation=0.3)
    assert sorted(done) == ["b", "c", "d"]
    again = {entry.id: entry.split for entry in second.manifest.entries}
    assert set(again) - set(splits) == {"recordings/d"}
    assert splits.items() <= again.items()
    assert "recordings/text" not in {rejected.id for rejected in second.rejected}


def test_other_settings_need_another_folder_or_leave_to_overwrite(recordings, tmp_path):
    folder, _ = recordings
    preprocess([folder], tmp_path / "out")
    with pytest.raises(ValueError, match=r"made with other settings \(sample_rate 22050 -> 16000\)"):
        preprocess([folder], tmp_path / "out", CleaningConfig(sample_rate=16000))
    report = preprocess([folder], tmp_path / "out", CleaningConfig(sample_rate=16000), overwrite=True)
    assert {entry.sample_rate for entry in report.manifest.entries} == {16000}


def test_same_id_twice_keeps_one_and_names_the_other(tmp_path):
    for source, level in (("x", 0.1), ("y", 0.2)):
        (tmp_path / source / "bo").mkdir(parents=True)
        io.write(tmp_path / source / "bo/1.wav", level * torch.randn(22050), 22050)
    report = preprocess([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert [entry.id for entry in report.manifest.entries] == ["bo/1"]
    assert report.rejected[0].path == str(tmp_path / "y/bo/1.wav")
    assert str(tmp_path / "x/bo/1.wav") in report.rejected[0].detail


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8_is_set_aside(recordings, tmp_path):
    folder, _ = recordings
    os.rename(folder / "b.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    report = preprocess([folder], tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == report.manifest
    assert [e.id for e in report.manifest.entries] == [f"recordings/{n}" for n in ("a", "c", "surround")]
    (named,) = (r for r in report.rejected if r.reason == "name")
    assert (named.id, named.path) == ("recordings/caf\\udce9", f"{folder}/caf\\udce9.wav")


def test_listed_recording_that_is_missing_is_reported(tmp_path):
    shutil.copytree(DATA / "ljspeech", tmp_path / "lj")
    (tmp_path / "lj/wavs/LJ001-0008.flac").unlink()
    report = preprocess([tmp_path / "lj"], tmp_path / "out")
    assert [(r.id, r.reason) for r in report.rejected] == [("lj/LJ001-0008", "missing")]


def test_nothing_fit_for_training_is_an_error_with_the_counts(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.wav").write_text("text")
    with pytest.raises(ValueError, match=r"none of 2 recordings is fit for training: 2 unreadable; see .*report.csv"):
        preprocess([tmp_path / "in"], tmp_path / "out")
    assert (tmp_path / "out/report.csv").exists()


def test_output_that_cannot_be_written_stops_the_run(recordings, tmp_path, monkeypatch):
    folder, _ = recordings

    def full(*_):
        raise OSError(28, "cannot write x: the disk is full")

    monkeypatch.setattr("waveflow.data.cleaning.write", full)
    with pytest.raises(OSError, match="the disk is full"):
        preprocess([folder], tmp_path / "out")
    monkeypatch.undo()
    assert len(preprocess([folder], tmp_path / "out").manifest.entries) == 4


PROGRAM = textwrap.dedent("""
    import sys, time
    from waveflow.data import preprocess as module

    if __name__ == "__main__":
        def slowly(done, total):
            print(done, flush=True)
            time.sleep(0.02)
        module.preprocess([sys.argv[1]], sys.argv[2], workers=2, on_progress=slowly)
""")


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc to see processes")
def test_killed_run_goes_on_to_the_same_corpus_and_leaves_no_process(tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(60):
        io.write(tmp_path / f"in/{index:02}.wav", 0.1 * torch.randn(30000), 22050)
    (tmp_path / "in/60.wav").write_text("text")
    (tmp_path / "run.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "in")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True, env=environment)
    for line in process.stdout:
        if int(line) >= 12:
            break
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out/manifest.jsonl").exists()
    half = (tmp_path / "out/.progress.jsonl").read_bytes()
    assert 12 <= half.count(b'"id"') < 61
    (tmp_path / "out/.progress.jsonl").write_bytes(half[:-20])  # as if it had been killed in the middle of a line
    (tmp_path / "out/audio/in/.0123456789abcdef.part").write_bytes(b"half a file")

    resumed = []
    preprocess([tmp_path / "in"], tmp_path / "out", on_progress=lambda *n: resumed.append(n))
    assert len(resumed) < 61 - 10
    preprocess([tmp_path / "in"], tmp_path / "whole")
    assert products(tmp_path / "out") == products(tmp_path / "whole")

    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers
    assert not any(map(alive, workers))
