import json
import shutil

import pytest
from conftest import DATA
from recipe_modules import load

from waveflow.checkpoints import save
from waveflow.models import build

run, report = load("finetune", "run", "report")

BASE = {"speaker": "a", "system": "base", "part": "all", "minutes": 1.0, "base": "abc", "base_steps": 9, "nats": 5.0}
BASE |= {"pesq": 1.5, "pesq_error": 0.021, "log_mel_l1": 0.3, "test_clips": 6, "torch": "2", "threads": 1}
TUNED = {**BASE, "system": "fine-tuned", "pesq": 1.75, "steps": 4, "cpu_s": 90.0, "wall_s": 60.0}


@pytest.mark.slow
def test_the_comparison_leaves_rows_tables_and_a_picture_and_is_not_made_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "TEST", 1)
    monkeypatch.setattr(run, "VALIDATION", 1)
    monkeypatch.setattr(run, "SEEDS", 2)
    shutil.copytree(DATA / "kathleen", tmp_path / "speech" / "kathleen")
    base = save(build("lapglow", n_flows=2, n_channels=8, dilations=[1]), tmp_path / "base")
    document, rows = tmp_path / "document.md", tmp_path / "rows.jsonl"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    command = ["run.py", "--data", tmp_path / "speech", "--out", tmp_path / "runs", "--rows", rows, "--base", base]
    command += ["--speakers", "kathleen", "--curve-of", "kathleen", "--minutes", "0.01", "--threads", "1"]
    command += ["--into", document, "--picture", tmp_path / "picture.png"]
    command += ["--set", "train.steps=2", "schedule.warmup=1", "data.segment=4096", "train.validate_seconds=0.5"]
    monkeypatch.setattr("sys.argv", list(map(str, command)))
    run.main()
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["system"] for row in found] == ["base", "fine-tuned", "adapter", "scratch", "fine-tuned"]
    assert [row["part"] for row in found] == ["all"] * 4 + [0.01]
    assert {"nats", "pesq_error", "log_mel_l1", "steps", "cpu_s"} <= found[1].keys()
    assert found[2]["adapter_bytes"] < 1e6
    text = document.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| kathleen, adapter |" in text
    assert (tmp_path / "picture.png").stat().st_size > 1000
    run.main()
    assert len(rows.read_text().splitlines()) == len(found)


def test_a_table_tells_the_error_of_pesq_and_what_a_run_cost():
    text = report.report([BASE, TUNED])
    assert "| a, base |  | 5.000 | 1.50 ± 0.02 |" in text
    assert "| a, fine-tuned | 4 | 1.5 | 1.0 |" in text


def test_settings_are_told_where_two_runs_differ_by_them_and_the_plain_run_is_drawn(tmp_path):
    other = {**TUNED, "set": ["objective.own_weight=0.1"], "pesq": 1.8}
    text = report.report([BASE, other, TUNED])
    assert text.index("| a, fine-tuned | 1.0 |") < text.index("| a, fine-tuned, objective.own_weight=0.1 | 1.0 |")
    assert "own_weight" not in report.report([BASE, other])
    report.draw([BASE, other, TUNED], tmp_path / "two.png")
    report.draw([BASE, TUNED], tmp_path / "plain.png")
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_document_without_a_place_for_the_figures_is_refused(tmp_path):
    (tmp_path / "document.md").write_text("text")
    with pytest.raises(SystemExit, match="between which the figures go"):
        report.publish([BASE], tmp_path / "document.md", None)
