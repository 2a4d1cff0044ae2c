"""Compile the CUDA C++ kernels for devices that need not be there, and write what the assembler says of each.

    python scripts/gpu/compile_cuda.py

Writes benchmarks/cuda_ahead_of_time.json: registers, stack, spills and static shared memory of each kernel, and the
dynamic shared memory that the layouts of the named models ask for. Needs nvcc and a C++ compiler, no GPU, no PyTorch.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "cuda_ext" / "csrc"
TABLE = ROOT / "benchmarks" / "cuda_ahead_of_time.json"
ARCHS = ("sm_80", "sm_90")
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>[^']+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", choices=ARCHS, default=[*ARCHS])
    parser.add_argument("--one-width", action="store_true", help="the kernels of one block width: a quick check")
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    rows = [row for arch in options.arch for row in compiled(arch, one_width=options.one_width)]
    version = re.search(r"release ([\d.]+), V([\d.]+)", run("nvcc", "--version"))[2]
    facts = {"date": datetime.date.today().isoformat(), "nvcc": version}
    options.output.write_text(json.dumps({**facts, "shared": layouts(), "kernels": rows}, indent=1) + "\n")
    for row in rows:
        print(*row.values())


def compiled(arch: str, *, one_width: bool) -> list[dict[str, Any]]:
    """A row for each kernel."""
    flags = ["-O3", "-std=c++17", f"-arch={arch}", "-Xptxas", "-v", "-cubin", "-o", os.devnull]
    said = run("nvcc", *flags, *(["-DONE_WIDTH"] if one_width else []), str(SOURCES / "kernels.cu"))
    names = run("c++filt", stdin=said)
    rows = []
    for found in ENTRY.finditer(names):
        static = re.search(r"(\d+) bytes smem", found["rest"])
        rows.append(
            {
                "arch": found["arch"],
                "kernel": re.sub(r"^void |\(\w+\)$", "", found["name"]),
                "registers": int(found["registers"]),
                "stack": int(found["stack"]),
                "spill_stores": int(found["stores"]),
                "spill_loads": int(found["loads"]),
                "static_shared": int(static[1]) if static else 0,
            }
        )
    return sorted(rows, key=lambda row: row["kernel"])


def layouts() -> dict[str, int]:
    """Bytes of dynamic shared memory a block asks for, by kernel and model."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "layouts")
        run("g++", "-std=c++17", "-o", str(program), str(SOURCES / "layouts.cpp"))
        return json.loads(run(str(program)))


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
