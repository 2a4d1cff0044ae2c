"""Measurements as a table, in Markdown or on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

HEADERS = (
    "model",
    "backend",
    "dtype",
    "batch x s",
    "x real time (p10 to p90)",
    "x float32 reference",
    "share of matrix product, folded (as written)",
    "memory, MB",
    "first samples, ms: p50 / p90 / p99",
    "signal to error, dB",
)
# The same in few letters, for figures without their spread.
SHORT_HEADERS = ("model", "backend", "dtype", "size", "x RT", "x ref", "share", "MB", "first ms", "dB")
# Columns of words; figures stand on the right.
WORDS = 3


def markdown(results: dict[str, Any]) -> str:
    """The results of `run` as a table in Markdown, with what they were measured on above it."""
    lines = [conditions(results), "", f"| {' | '.join(HEADERS)} |"]
    lines.append("|" + "---|" * WORDS + "---:|" * (len(HEADERS) - WORDS))
    lines += [f"| {' | '.join(_cells(row))} |" for row in results["rows"]]
    for name, reason in results["left_out"].items():
        lines += ["", f"Left out: {name}: {reason}"]
    return "\n".join(lines)


def rich_table(results: dict[str, Any]) -> Table:
    """Medians alone, for a terminal of 80 columns; longer names of models are folded."""
    from rich.table import Table

    table = Table(caption=conditions(results), box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, header in enumerate(SHORT_HEADERS):
        table.add_column(
            header, justify="left" if i < WORDS else "right", no_wrap=i > 0, overflow="fold", min_width=0 if i else 12
        )
    for row in results["rows"]:
        *words, size, _, ratio, _, memory, _, decibels = _cells(row)
        share, first = row["share_of_matrix_product"]["folded"], row.get("first_samples_ms")
        speed = _short(row["x_real_time"]["median"])
        first = _or_dash(first, lambda ms: _short(ms["p50"]))
        table.add_row(*words, size.replace(" ", ""), speed, ratio, f"{share:.0%}", memory, first, decibels)
    return table


def conditions(results: dict[str, Any]) -> str:
    """One sentence: when, on what, with what, and what the machine itself reached."""
    *dtypes, copy = results["ceilings"].items()
    products = ", ".join(f"{rate:.3g} GMAC/s in {name}" for name, rate in dtypes)
    threads = f", {results['threads']} threads" if "threads" in results else ""
    return (
        f"{results['date'][:10]}, {results['device']}{threads}, PyTorch {results['torch']}; "
        f"its matrix product reaches {products}, its copy {copy[1]:.3g} GB/s."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    speed, share, first = row["x_real_time"], row["share_of_matrix_product"], row.get("first_samples_ms")
    return [
        row["model"],
        row["backend"],
        row["dtype"],
        f"{row['batch']} x {row['seconds']:g}",
        f"{_short(speed['median'])} ({_short(speed['p10'])} to {_short(speed['p90'])})",
        _or_dash(row["times_the_float32_reference"], _short),
        f"{share['folded']:.0%} ({share['as_written']:.0%})",
        _or_dash(row["peak_memory_mb"], lambda mb: f"{mb:.0f}"),
        _or_dash(first, lambda ms: " / ".join(_short(ms[p]) for p in ("p50", "p90", "p99"))),
        _or_dash(row["decibels"], lambda db: f"{db:.0f}"),
    ]


def _or_dash(value: Any, show: Any) -> str:
    return "-" if value is None else show(value)


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
