import json

import pytest
from conftest import DATA

from waveflow.data.manifest import Manifest


def test_command_makes_a_corpus_and_tells_what_was_set_aside(run, tmp_path):
    (tmp_path / "in").mkdir()
    for clip in (DATA / "ljspeech/wavs").glob("*.flac"):
        (tmp_path / "in" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "in/broken.wav").write_text("no sound")
    code, out, err = run("preprocess", tmp_path / "in", "-o", tmp_path / "out", "--workers", 1, "--test", 0)
    assert code == 1
    assert err.count("broken.wav") == 1
    assert "3 of 4 recordings" in out
    assert "set aside: 1 unreadable" in out
    assert len(Manifest.read(tmp_path / "out").entries) == 3


def test_report_is_printed_as_json(run, tmp_path):
    command = ("preprocess", DATA / "ljspeech", DATA / "kathleen", "-o", tmp_path, "--workers", 1, "--json")
    code, out, _ = run(*command, "--sample-rate", 16000, "--trim-db", 40, "--loudness", -23, "--speaker", "anna")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "report.json").read_text())
    assert list(json.loads(out)["speakers"]) == ["anna"]
    assert {entry.sample_rate for entry in Manifest.read(tmp_path).entries} == {16000}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["missing"], "missing does not exist"),
        ([DATA / "ljspeech", "--validation", 2], "are shares of the corpus"),
        ([DATA / "ljspeech", "--trim-db", -3], "trim_db is -3"),
    ],
)
def test_wrong_usage_is_one_line_and_code_two(run, tmp_path, options, reason):
    code, _, err = run("preprocess", *options, "-o", tmp_path / "out", "--workers", 1)
    assert code == 2
    assert reason in err
    assert "Traceback" not in err


def test_place_that_cannot_be_written_is_code_one(run, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("preprocess", DATA / "ljspeech", "-o", tmp_path / "file/out", "--workers", 1)
    assert code == 1
    assert str(tmp_path / "file") in err
    assert "Traceback" not in err


def test_shards_are_written_beside_the_corpus(run, tmp_path):
    command = ("preprocess", DATA / "kathleen", "-o", tmp_path / "out", "--workers", 1, "--json")
    code, out, err = run(
        *command, "--validation", 0, "--test", 0, "--shards", tmp_path / "shards", "--shard-megabytes", 0.1
    )
    assert code == 0, err
    facts = json.loads(out)["shards"]
    assert facts["number"] == len(list((tmp_path / "shards").glob("train-*.tar"))) > 1
    assert facts["left_out"] == []
