"""Write the tables of waveflow/ops/README.md: what an inverse must compute and move, what GPUs and compilers say.

    python scripts/gpu/write_tables.py
    python scripts/gpu/write_tables.py --only triton cuda

The first is computed by count.py; the others are read from benchmarks/benchmark-<device>.json (benchmark.py),
benchmarks/ahead_of_time.json (compile_ahead.py) and benchmarks/cuda_ahead_of_time.json (compile_cuda.py).
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "waveflow" / "ops" / "README.md"
BENCHMARKS = ROOT / "benchmarks"


def counts() -> str:
    import count

    return count.table([*count.MODELS], "NVIDIA H200 (989 TFLOP/s, 4.8 TB/s by its data sheet)", 989.0, 4.8)


def triton() -> str:
    """A row for each kernel; precisions and devices that compile to equal figures share one."""
    found = json.loads((BENCHMARKS / "ahead_of_time.json").read_text())
    figures = ("registers", "spill_stores", "shared", "blocks_per_sm")
    merged: dict[tuple[Any, ...], list[str]] = {}
    for row in found["kernels"]:
        key = (row["arch"], row["kernel"], row["model"], row["frames"], *(row[name] for name in figures))
        merged.setdefault(key, [])
        if row["dtype"] not in merged[key]:
            merged[key].append(row["dtype"])
    lines = [
        f"Triton {found['triton']}, {found['date']}.",
        "",
        "| device | kernel | model | frames | operands | registers | spilled, bytes | shared memory, KB | blocks/SM |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (arch, kernel, model, frames, registers, spilled, shared, blocks), dtypes in merged.items():
        lines.append(
            f"| {arch} | {kernel} | {model} | {frames} | {', '.join(dtypes)} | {registers} | {spilled} | "
            f"{shared / 1024:.0f} | {blocks} |"
        )
    return "\n".join(lines)


def cuda() -> str:
    found = json.loads((BENCHMARKS / "cuda_ahead_of_time.json").read_text())
    lines = [
        f"nvcc {found['nvcc']}, {found['date']}. `layer_kernel<operands, channels of a block, frames / 32, stages>`.",
        "",
        "| kernel | registers, sm_80 | registers, sm_90 | spilled, bytes |",
        "|---|---|---|---|",
    ]
    by_name: dict[str, dict[str, Any]] = {}
    for row in found["kernels"]:
        by_name.setdefault(row["kernel"], {})[row["arch"]] = row
    for name, archs in by_name.items():
        registers = [str(archs[arch]["registers"]) if arch in archs else "-" for arch in ("sm_80", "sm_90")]
        spilled = sum(row["spill_stores"] for row in archs.values())
        lines.append(f"| `{name}` | {' | '.join(registers)} | {spilled} |")
    lines += ["", "| dynamic shared memory | KB |", "|---|---|"]
    lines += [f"| {name} | {size / 1024:.0f} |" for name, size in found["shared"].items()]
    return "\n".join(lines)


def measured() -> str:
    """A table for each device: every row that was measured on it."""
    tables = []
    for path in sorted(BENCHMARKS.glob("benchmark-*.json")):
        found = json.loads(path.read_text())
        ceilings = found["ceilings"]
        tables += [
            textwrap.fill(
                f"{found['device']}, {found['date'][:10]}, PyTorch {found['torch']}, Triton {found['triton']}. Its own "
                f"ceilings in the same run: {ceilings['matmul_bfloat16_tflops']:.0f} TFLOP/s in bfloat16, "
                f"{ceilings['matmul_float16_tflops']:.0f} in float16, a copy at {ceilings['copy_tbps']:.1f} TB/s.",
                120,
            ),
            "",
            "| model | backend | operands | batch x seconds | ms, median (p90) | x real time | times eager PyTorch "
            "| share of the ceiling | whole call, ms p50 (p99) | from float64, dB |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        rows = sorted(found["rows"], key=lambda row: (row["model"], row["dtype"], row["backend"], -row["x_real_time"]))
        tables += [measured_row(row) for row in rows]
    return "\n".join(tables)


def measured_row(row: dict[str, Any]) -> str:
    times, share, call = row.get("times_the_reference"), row.get("share_of_matmul"), row.get("call_median_ms")
    cells = [
        row["model"],
        row["backend"].replace("reference", "eager PyTorch"),
        row["dtype"],
        row["size"],
        f"{row['median_ms']:.2f} ({row['p90_ms']:.2f})",
        f"{row['x_real_time']:.0f}",
        "" if times is None or row["backend"] == "reference" else f"{times:.1f}",
        "" if share is None else f"{share:.0%}",
        "" if call is None else f"{call:.1f} ({row['call_p99_ms']:.1f})",
        f"{row['decibels']:.0f}" if "decibels" in row else "",
    ]
    return f"| {' | '.join(cells)} |"


TABLES: dict[str, Callable[[], str]] = {"counts": counts, "measured": measured, "triton": triton, "cuda": cuda}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=[*TABLES])
    options = parser.parse_args()
    page = PAGE.read_text()
    for name in options.only:
        page = replaced(page, name, TABLES[name]())
    PAGE.write_text(page)


def replaced(page: str, name: str, table: str) -> str:
    """The page with another table between the marks of that name."""
    before, rest = page.split(f"<!-- {name} -->\n", 1)
    after = rest.split(f"<!-- end of {name} -->", 1)[1]
    return f"{before}<!-- {name} -->\n{table}\n<!-- end of {name} -->{after}"


if __name__ == "__main__":
    main()
