"""Code blocks of the documentation run in order, or their page says why not.

Of the README the Python runs; its commands, which would train for hours, are parsed: there are such commands, and they
know the options that they are given. So are all `waveflow` commands of the documentation, those too that are not run.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DATA
from runs import SMALL, changed, write_corpus
from small_models import small

import waveflow
from waveflow.checkpoints import native
from waveflow.cli.main import LazyCommands, main
from waveflow.inference import loading
from waveflow.models import registry
from waveflow.training import TrainConfig, train

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(
    r"^(?P<mark><!-- (?:not run: .+?|slow) -->\n)?```(?P<kind>python|bash)\n(?P<code>.*?)^```$", re.M | re.S
)
FENCED = re.compile(r"^(```+).*?^\1$", re.M | re.S)
INDENTED_COMMAND = re.compile(r"^(?: {4}|\t) *(?:\w+=\S* )*(?:waveflow|python|pip|torchrun|bash|serve|curl) .*$", re.M)
ANY_BLOCK = re.compile(r"^ *```(?:python|bash|sh|console|py)\b", re.M)


def blocks(path):
    return list(BLOCK.finditer(path.read_text(encoding="utf-8")))


def commands(code):
    """The lines of a bash block, continued ones joined, without comments."""
    joined = code.replace("\\\n", " ")
    return [line for line in (raw.split("  #")[0].strip() for raw in joined.splitlines()) if line and line[0] != "#"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the pages talk of, a small model in place of the bundled one."""
    native.save(small("lapglow"), tmp_path / "pretrained" / "lapglow")
    monkeypatch.setattr(loading, "PRETRAINED", tmp_path / "pretrained")
    work = tmp_path / "work"
    (work / "recordings").mkdir(parents=True)
    t = np.arange(2 * 22050) / 22050
    clip = 0.3 * np.sin(2 * np.pi * 180 * t) * np.sin(np.pi * t) ** 2 + 0.003 * np.random.default_rng(
        0
    ).standard_normal(len(t))
    soundfile.write(work / "speech.wav", clip, 22050)
    soundfile.write(work / "recordings" / "one.wav", clip[:22050], 22050)
    soundfile.write(work / "recordings" / "two.flac", 0.5 * clip[:16000], 22050)
    monkeypatch.chdir(work)
    models, sizes = dict(registry.MODELS), dict(registry.SIZES)
    yield work
    for table, before in ((registry.MODELS, models), (registry.SIZES, sizes)):
        table.clear()
        table.update(before)


def run_bash(code, monkeypatch):
    """Each line that is a plain `waveflow` command in this process, any other by bash."""
    for line in commands(code):
        words = shlex.split(line)
        if words[0] != "waveflow" or {"|", "&&", ">"} & {*words}:
            subprocess.run(["bash", "-ec", line], check=True, timeout=60, env={**os.environ, "PATH": _path()})
            continue
        monkeypatch.setattr(sys, "argv", words)
        assert exit_code(main) == 0, f"{line!r} failed"


def exit_code(function):
    try:
        function()
    except SystemExit as stop:
        return stop.code or 0
    return 0


def _path():
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run_page(path, place, monkeypatch, slow):
    monkeypatch.setattr(
        waveflow, "load", lambda name=None, **options: loading.load(name, **{"backend": "reference", **options})
    )
    names = {"__name__": "__page__"}
    for block in blocks(path):
        mark = block["mark"] or ""
        if "not run" in mark or ("slow" in mark and not slow):
            continue
        if block["kind"] == "bash":
            run_bash(block["code"], monkeypatch)
        else:
            line = path.read_text(encoding="utf-8")[: block.start("code")].count("\n")
            exec(compile("\n" * line + block["code"], str(path), "exec"), names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_in_order(path, place, monkeypatch):
    run_page(path, place, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in PAGES if "<!-- slow -->" in path.read_text(encoding="utf-8")], ids=lambda path: path.stem
)
def test_slow_blocks_of_a_page_run_in_order(path, place, monkeypatch):
    run_page(path, place, monkeypatch, slow=True)


@pytest.mark.slow
def test_the_model_of_ones_own_trains(place, monkeypatch):
    run_page(ROOT / "docs/extending.md", place, monkeypatch, slow=False)
    (place / "corpus").mkdir()
    own = {"data": {"manifest": str(write_corpus(DATA, place / "corpus"))}, "train": {"out": "run"}}
    config = TrainConfig.from_dict(changed(changed(SMALL, {"model": "bent", "model_config": {}}), own))
    assert train(config).reason == "finished"


def test_python_of_the_readme_runs(place, monkeypatch):
    names = {"__name__": "__page__"}
    monkeypatch.setattr(waveflow, "load", lambda *a: loading.load(*a, backend="reference"))
    for block in blocks(ROOT / "README.md"):
        if block["kind"] == "python":
            exec(compile(block["code"], "README.md", "exec"), names)


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist_with_the_options_they_are_shown_with(path):
    group = LazyCommands(name="waveflow")
    for block in blocks(path):
        if block["kind"] != "bash":
            continue
        for line in commands(block["code"]):
            for part in re.split(r"\s(?:&&|\|)\s", line):
                words = shlex.split(part)
                if words[0] == "waveflow":
                    command = group.get_command(None, words[1])
                    assert command, f"there is no command {words[1]!r}"
                    command.make_context(words[1], words[2:])


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_one_that_is_collected(path):
    assert len(blocks(path)) == len(ANY_BLOCK.findall(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_hides_in_an_indented_block(path):
    outside = FENCED.sub("", path.read_text(encoding="utf-8"))
    assert INDENTED_COMMAND.findall(outside) == []
