import json
import sys

import pytest
import torch
import waveglow_files as files

from waveflow.checkpoints import load
from waveflow.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`waveflow convert` beside a first-generation `source.pt`: exit code, stdout and stderr in one line each."""
    files.write_object(tmp_path / "source.pt", files.first_generation(files.small_state()[0], 2))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["waveflow", "convert", *arguments])
        with pytest.raises(SystemExit) as exit:
            main()
        said = capsys.readouterr()
        return exit.value.code or 0, " ".join(said.out.split()), " ".join(said.err.split())

    return call


def test_the_report_names_what_was_found_and_proved(tmp_path, run):
    code, out, err = run("source.pt", "native")
    assert (code, err) == (0, "")
    for fact in (
        "pickled glow.WaveGlow object",
        "generation 1",
        "n_flows 3",
        "in float64",
        "Jacobian",
        "--swap-halves",
    ):
        assert fact in out
    load(tmp_path / "native")


def test_the_destination_may_be_an_option_and_the_mel_a_preset(tmp_path, run):
    assert run("source.pt", "-o", "native", "--preset", "nvidia")[0] == 0
    load(tmp_path / "native")


def test_json_is_for_scripts(tmp_path, run):
    code, out, _ = run("source.pt", "native", "--swap-halves", "--half", "--sigma", "0.8", "--json")
    report = json.loads(out)
    assert (code, report["generation"], report["config"]["swap_halves"], report["config"]["sigma"]) == (0, 1, True, 0.8)
    assert load(tmp_path / "native").config.swap_halves


def test_exit_codes_tell_a_bad_file_from_a_wrong_call(tmp_path, run):
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pt")
    code, out, err = run("other.pt", "native")
    assert (code, out) == (1, "")
    assert err.startswith("waveflow: other.pt is no WaveGlow")
    code, _, err = run("source.pt", ".")
    assert (code, "--overwrite" in err) == (2, True)
    assert run("source.pt", "native", "--mel", "nvidiaa")[0] == 2
    assert run("source.pt")[0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.pt", "source.pt"]


def test_help_has_an_example(run):
    assert "waveflow convert waveglow_256channels" in run("--help")[1]
