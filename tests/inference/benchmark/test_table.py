import io

import pytest
from rich.console import Console

from waveflow.inference.benchmark import markdown, rich_table


@pytest.fixture
def results():
    row = {
        "model": "lapglow",
        "backend": "onednn",
        "dtype": "bfloat16",
        "batch": 1,
        "seconds": 5.0,
        "decibels": 41.7,
        "x_real_time": {"median": 151.3, "p10": 140.2, "p90": 9.876},
        "share_of_matrix_product": {"as_written": 0.8, "folded": 0.75},
        "times_the_float32_reference": 3.456,
        "peak_memory_mb": 95.2,
        "first_samples_ms": {"p50": 12.34, "p90": 20.0, "p99": 123.4, "runs": 50},
    }
    bare = {**row, "backend": "pytorch", "decibels": None, "times_the_float32_reference": None, "peak_memory_mb": None}
    del bare["first_samples_ms"]
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "device": "a machine",
        "threads": 2,
        "torch": "2.11.0",
        "ceilings": {"float32": 90.12, "bfloat16": 181.4, "copy": 12.0},
        "rows": [row, bare],
        "left_out": {"vocos bfloat16": "no module"},
    }


def test_markdown_shows_every_figure_and_what_it_was_measured_on(results):
    conditions, _, header, rule, first, bare, _, left_out = markdown(results).splitlines()
    assert conditions == (
        "2026-01-02, a machine, 2 threads, PyTorch 2.11.0; its matrix product reaches 90.1 GMAC/s in float32, "
        "181 GMAC/s in bfloat16, its copy 12 GB/s."
    )
    assert header.count("|") == rule.count("|") == first.count("|") == bare.count("|")
    assert first == (
        "| lapglow | onednn | bfloat16 | 1 x 5 | 151 (140 to 9.88) | 3.46 | 75% (80%) | 95 | 12.3 / 20 / 123 | 42 |"
    )
    assert bare.endswith("| - | 75% (80%) | - | - | - |")
    assert left_out == "Left out: vocos bfloat16: no module"


def test_names_of_models_and_figures_fit_into_80_columns(results):
    results["rows"][0] |= {"model": "squeezewave-128l", "backend": "reference", "batch": 16, "peak_memory_mb": 12345.6}
    results["rows"][1]["model"] = "a/checkpoint/of/some/length"
    page = io.StringIO()
    Console(width=80, file=page).print(rich_table(results))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:2] == ["model", "backend"]
    assert lines[0].endswith(" dB")
    figures = ["16x5", "151", "3.46", "75%", "12346", "12.3", "42"]
    assert lines[1].split() == ["squeezewave-128l", "reference", "bfloat16", *figures]
    assert "".join(line.split()[0] for line in lines[2:5]).startswith("a/checkpoint/of/some/length")


def test_the_terminal_gets_the_medians(results):
    page = io.StringIO()
    Console(width=100, file=page).print(rich_table(results))
    text = page.getvalue()
    assert "151" in text
    assert "12.3" in text
    assert "140" not in text
