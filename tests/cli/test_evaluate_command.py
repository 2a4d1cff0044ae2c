import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from small_models import small

from waveflow.audio import io
from waveflow.cli.evaluate import FIGURES
from waveflow.cli.main import main
from waveflow.inference import Vocoder
from waveflow.metrics.evaluate import METRICS

CLIPS = Path(__file__).resolve().parents[1] / "data/ljspeech/wavs"
CLIP = CLIPS / "LJ001-0002.flac"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `waveflow evaluate` with these arguments: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["waveflow", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def folders(tmp_path):
    """Two clips, and syntheses of them: one perfect, one at half the level."""
    audio, rate = io.read(CLIP)
    for folder, name, gain in (("x", "a", 1), ("x", "b", 1), ("y", "a", 1), ("y", "b", 0.5)):
        (tmp_path / folder).mkdir(exist_ok=True)
        io.write(tmp_path / folder / f"{name}.wav", gain * audio, rate, subtype="FLOAT")
    return tmp_path / "x", tmp_path / "y"


def test_two_folders_are_compared_clip_by_clip(run, folders):
    code, out, err = run(*folders, "--json")
    assert code == 0
    report = json.loads(out)["synthesis"]
    assert report["clips"]["a"]["log_mel_l1"] == 0.0
    assert report["clips"]["b"]["gain_db"] == pytest.approx(-6.02, abs=0.01)
    assert report["summary"]["gain_db"]["mean"] == pytest.approx(-3.01, abs=0.01)
    assert "synthesis, b, gain_db: the synthesis is 6.0 dB quieter" in err


def test_the_table_has_every_figure(run, folders):
    code, out, _ = run(folders[0] / "a.wav", folders[1] / "a.wav")
    assert code == 0
    for name in METRICS:
        assert FIGURES[name][0] in out
    assert "4.644" in out
    assert "x real time" not in out


@pytest.fixture
def systems(folders):
    """The two clips, syntheses of both, and of another system that is silent in one of them."""
    x, y = folders
    audio, rate = io.read(CLIP)
    other = x.parent / "z"
    other.mkdir()
    for name, synthesis in (("a", 0.5 * audio), ("b", 0 * audio)):
        io.write(other / f"{name}_generated.wav", synthesis, rate, subtype="FLOAT")
    return x, y, other


def test_systems_are_compared_with_the_first_over_the_clips_that_both_have(run, systems):
    code, out, _ = run(*systems, "--json")
    assert code == 0
    report = json.loads(out)
    assert list(report) == ["y", "z"]
    assert "difference" not in report["y"]
    difference = report["z"]["difference"]["gain_db"]
    assert (difference["mean"], difference["n"]) == (pytest.approx(-6.02, abs=0.01), 1)
    assert report["z"]["difference"]["vuv_f1"]["n"] == 2


def test_the_table_says_of_how_many_clips_a_mean_is_where_it_is_not_of_all(run, systems):
    code, out, err = run(*systems)
    assert code == 0
    assert "-6.02 (1 of 2)" in out
    assert "less y, clip by clip" in out
    assert "z, b, pesq: the synthesis is silent" in err


def test_systems_that_would_be_called_alike_are_refused(run, systems, tmp_path):
    x, y, _ = systems
    shutil.copytree(y, tmp_path / "more/y")
    shutil.copytree(y, tmp_path / "griffin-lim")
    for arguments, problem in (
        ((y, tmp_path / "more/y"), "are both called y"),
        ((y, tmp_path / "griffin-lim", "--griffin-lim"), "called griffin-lim"),
        ((y / "a.wav", y), "a.wav is a file among several"),
    ):
        code, _, err = run(x, *arguments)
        assert code == 2
        assert problem in " ".join(err.split())


def test_pictures_are_drawn_of_every_clip_and_system(run, folders, tmp_path):
    code, _, _ = run(folders[0] / "a.wav", folders[1] / "a.wav", "--griffin-lim", "--pictures", tmp_path / "p/q")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "p/q").iterdir()) == ["a.griffin-lim.png", "a.synthesis.png"]


def test_clips_of_speakers_who_read_the_same_are_compared_and_drawn(run, folders, tmp_path):
    for folder in folders:
        for speaker, clip in (("bdl", "a"), ("slt", "b")):
            (folder / speaker).mkdir()
            (folder / f"{clip}.wav").rename(folder / speaker / "1.wav")
    code, out, _ = run(*folders, "--pictures", tmp_path / "p", "--json")
    assert code == 0
    assert list(json.loads(out)["synthesis"]["clips"]) == ["bdl/1", "slt/1"]
    assert sorted(p.name for p in (tmp_path / "p").iterdir()) == ["bdl_1.synthesis.png", "slt_1.synthesis.png"]


def test_clips_that_cannot_be_compared_are_named_and_the_exit_code_is_1(run, folders):
    x, y = folders
    (y / "b.wav").write_text("no sound at all")
    io.write(x / "c.wav", torch.zeros(8000), 8000)
    code, out, err = run(x, y, "--json")
    assert code == 1
    report = json.loads(out)["synthesis"]
    assert list(report["clips"]) == ["a"]
    assert set(report["failures"]) == {"b", "c"}
    assert "b.wav is no sound file" in err
    assert "c.wav has no counterpart" in err


def test_nothing_is_printed_where_no_clip_could_be_compared(run, folders):
    for folder in folders:
        (folder / "a.wav").write_text("no sound")
    code, out, err = run(folders[0] / "a.wav", folders[1] / "a.wav")
    assert (code, out) == (1, "")
    assert "a.wav" in err


def test_a_model_is_evaluated_beside_griffin_lim_on_the_same_mels(run, tmp_path):
    Vocoder(small("lapglow")).save(tmp_path / "tiny")
    code, out, _ = run(CLIP, "--model", tmp_path / "tiny", "--griffin-lim", "--device", "cpu", "--json")
    assert code == 0
    report = json.loads(out)
    assert list(report) == ["tiny", "griffin-lim"]
    model, baseline = (report[name]["clips"]["LJ001-0002"] for name in report)
    assert model["x_real_time"] > 0
    assert 5 < model["bits_per_sample"] < 100
    assert "bits_per_sample" not in baseline
    assert baseline["pesq"] > 3.3 > model["pesq"]


def test_the_seed_decides_what_the_model_says(run, tmp_path):
    Vocoder(small("lapglow")).save(tmp_path / "tiny")
    found = []
    for seed in (3, 3, 4):
        _, out, _ = run(CLIP, "--model", tmp_path / "tiny", "--seed", seed, "--device", "cpu", "--json")
        found.append(json.loads(out)["tiny"]["clips"]["LJ001-0002"]["mr_stft"])
    assert found[0] == found[1] != found[2]


def test_recordings_at_another_rate_are_resampled_to_the_models(run, tmp_path):
    Vocoder(small("lapglow")).save(tmp_path / "tiny")
    audio, _ = io.read(CLIP, 48000)
    io.write(tmp_path / "a.wav", audio, 48000)
    code, out, _ = run(tmp_path / "a.wav", "--model", tmp_path / "tiny", "--device", "cpu", "--json")
    assert code == 0
    assert json.loads(out)["tiny"]["summary"]["mr_stft"]["n"] == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nowhere",), "nowhere does not exist"),
        ((CLIP, CLIP, "--model", "lapglow"), "give one of them"),
        ((CLIP, "--sample-rate", 16000), "leave it out"),
        ((CLIP, "--model", "nobody"), "no model 'nobody'"),
        ((CLIP, CLIP, "--pictures", "/dev/null/p"), "cannot make the folder"),
        ((CLIP, CLIP, "--denoise", 0.1), "are a model's"),
        ((CLIP, CLIP, "--what"), "No such option"),
    ],
)
def test_wrong_usage_ends_in_one_message_and_exit_code_2(run, arguments, problem):
    code, out, err = run(*arguments)
    assert code == 2
    assert problem in err
    assert out == ""
    assert "Traceback" not in err


def test_pictures_without_matplotlib_name_the_extra_before_any_work(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(CLIP, CLIP, "--pictures", tmp_path / "p")
    assert code == 2
    assert "waveflow[metrics]" in err
    assert not (tmp_path / "p").exists()


def test_help_has_an_example(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "waveflow evaluate recordings/" in out
