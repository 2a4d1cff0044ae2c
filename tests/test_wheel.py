"""What `pip install waveflow` brings: the wheel, built from a copy of the checkout and run from a folder of its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile
from conftest import DATA

import waveflow

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "waveflow", "recipes"]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="needs the checkout that the wheel is built from"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", "77", reason="needs setuptools>=77, of the extra waveflow[test]")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        path = ROOT / part
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.so", "*.egg-info")
        shutil.copytree(path, source / part, ignore=ignored) if path.is_dir() else shutil.copy(path, source)
    subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def run(installed, cwd, *arguments):
    command = [sys.executable, "-m", "waveflow.cli.main", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_the_package_its_model_and_its_recipes(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"waveflow-{waveflow.__version__}.dist-info/entry_points.txt").decode()
    assert wheel.name == f"waveflow-{waveflow.__version__}-py3-none-any.whl"
    assert "waveflow = waveflow.cli.main:main" in entry_points
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "waveflow").rglob("*.py")}
    assert sources <= names
    for name in ("py.typed", "pretrained/lapglow/model.safetensors", "recipes/ljspeech/config.yaml"):
        assert f"waveflow/{name}" in names
    folders = {name.split("/")[0] for name in names}
    assert folders == {"waveflow", f"waveflow-{waveflow.__version__}.dist-info"}
    assert not any(name.endswith((".pyc", ".so")) for name in names)


def test_the_wheel_vocodes_with_the_bundled_model_outside_of_the_checkout(installed, tmp_path):
    clip = DATA / "ljspeech" / "wavs" / "LJ001-0008.flac"
    done = run(installed, tmp_path, "vocode", clip, "-o", "out.wav", "--backend", "reference")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(clip).frames


def test_the_wheel_finds_its_recipes(installed, tmp_path):
    done = run(installed, tmp_path, "train", "--recipe", "ljspeech", "--show")
    assert done.returncode == 0, done.stderr
    assert "manifest:" in done.stdout
