"""Files and directories that are written whole or not at all."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from waveflow import files


def test_full_disk_is_said_in_plain_words(tmp_path):
    with (
        pytest.raises(OSError, match="the disk is full; free some space"),
        files.replacing(tmp_path / "a.json"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert not list(tmp_path.iterdir())


def test_errors_of_other_files_keep_their_own_message(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), files.replacing(tmp_path / "a.json"):
        (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("fails", [False, True])
def test_without_an_atomic_exchange_the_old_directory_is_set_aside_and_comes_back(tmp_path, monkeypatch, fails):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    rename = Path.rename

    def rename_or_fail(self, other):
        if fails and self.suffix == ".partial":
            raise OSError(errno.EIO, "input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    expected = pytest.raises(OSError, match=f"cannot write {target}: input/output error") if fails else nullcontext()
    with expected, files.atomic_directory(target) as staging:
        (staging / "new").write_text("new")
    assert os.listdir(target) == (["old"] if fails else ["new"])
    assert os.listdir(tmp_path) == ["target"]


def test_a_directory_whose_block_fails_is_as_it_was(tmp_path):
    def fail():
        with files.atomic_directory(tmp_path / "target") as staging:
            (staging / "new").write_text("new")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_by_no_directory(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    with pytest.raises(OSError, match="target: it is a file, expected a directory"), files.atomic_directory(target):
        pass
    assert target.read_text() == "mine"
