import json

SHORT = ("--seconds", 0.1, "--rounds", 1, "--device", "cpu")


def test_bench_measures_a_checkpoint_and_prints_json(run, checkpoint):
    options = ["--backend", "reference", "--backend", "onednn", "--dtype", "float32", "--json"]
    code, out, err = run("bench", checkpoint, *SHORT, *options)
    assert code == 0, err
    found = json.loads(out)
    assert [row["backend"] for row in found["rows"]] == ["reference", "onednn"]
    assert all(row["decibels"] > 90 and row["x_real_time"]["median"] > 0 for row in found["rows"])
    assert found["date"]
    assert found["ceilings"]["float32"] > 0


def test_bench_shows_a_table_and_says_what_was_left_out(run, checkpoint, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    code, out, err = run("bench", checkpoint, *SHORT, "--backend", "triton", "--backend", "reference")
    assert code == 0
    assert "reference" in out
    assert "triton float32 left out: backend 'triton' was asked for, but" in err


def test_bench_refuses_what_it_does_not_know(run, checkpoint):
    for option, value, message in (
        ("--backend", "tpu", "backend is 'tpu', expected one of"),
        ("--dtype", "int3", "dtype is 'int3', expected one of"),
        ("--rounds", 0, "must be above 0"),
    ):
        code, _, err = run("bench", checkpoint, option, value)
        assert code == 2
        assert message in err
