import shutil
import sys

import pytest
from conftest import DATA
from small_models import small

from waveflow.checkpoints import native
from waveflow.cli.main import main


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "small"
    native.save(small("lapglow"), directory)
    return str(directory)


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(DATA / "ljspeech" / "wavs", folder)
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Call `waveflow` with arguments: (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["waveflow", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call
