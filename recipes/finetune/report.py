"""Tables and a picture of what `run.py` measured.

python recipes/finetune/report.py --into docs/finetuning.md --picture docs/images/finetune.png
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "nats": ("nats/sample", 3),
    "pesq": ("PESQ", 2),
    "mcd": ("MCD, dB", 2),
    "f0_rmse_cents": ("F0 RMSE, cents", 0),
    "vuv_f1": ("V/UV F1", 3),
    "log_mel_l1": ("log-mel L1", 3),
    "own_bits": ("bits/sample, own speech", 1),
}
SYSTEMS = ("base", "fine-tuned", "adapter", "scratch")
BEGIN, END = "<!-- figures of recipes/finetune/report.py -->", "<!-- end of the figures -->"
Row = dict[str, Any]


def read_rows(path: Path, base: str | None) -> list[Row]:
    """The rows of one base: the given one, by the beginning of its fingerprint, or that of the last row."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = base or rows[-1]["base"]
    rows = [row for row in rows if row["base"].startswith(wanted)]
    if not rows:
        raise SystemExit(f"{path} has no row of a base that begins with {wanted}")
    return rows


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def of_all(rows: Sequence[Row]) -> list[Row]:
    """Rows of whole corpora, speaker by speaker, in the order of `SYSTEMS`, those with other settings last."""
    speakers = list(dict.fromkeys(row["speaker"] for row in rows))
    whole = [row for row in rows if row["part"] == "all"]
    return sorted(
        whole,
        key=lambda row: (speakers.index(row["speaker"]), SYSTEMS.index(row["system"]), row.get("set", [])),
    )


def named(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Rows of whole corpora with speaker and system; also the settings that differ, where they tell two runs apart."""
    whole = of_all(rows)
    runs = Counter((row["speaker"], row["system"]) for row in whole)
    told = [row.get("set", []) if runs[row["speaker"], row["system"]] > 1 else [] for row in whole]
    return [(", ".join([row["speaker"], row["system"], *settings]), row) for row, settings in zip(whole, told)]


def comparison(rows: Sequence[Row]) -> str:
    """Every system of every speaker."""
    lines = []
    for name, row in named(rows):
        figures = [f"{row[key]:.{digits}f}" if key in row else "" for key, (_, digits) in COLUMNS.items()]
        figures[list(COLUMNS).index("pesq")] += f" ± {row['pesq_error']:.2f}"
        lines.append([name, "" if row["system"] == "base" else f"{row['minutes']:.1f}", *figures])
    return table(["", "minutes", *(label for label, _ in COLUMNS.values())], lines)


def costs(rows: Sequence[Row]) -> str:
    """Steps and time of every run."""
    lines = [
        [
            name,
            str(row["steps"]),
            f"{row['cpu_s'] / 60:.1f}",
            f"{row['wall_s'] / 60:.1f}",
            f"{row['adapter_bytes'] / 1000:.0f} kB" if "adapter_bytes" in row else "",
        ]
        for name, row in named(rows)
        if row["system"] != "base"
    ]
    return table(["", "steps", "processor minutes", "minutes by the clock", "adapter"], lines)


def curve(rows: Sequence[Row]) -> str:
    """Fine-tuning against minutes of speech."""
    tuned = [row for row in rows if row["system"] == "fine-tuned"]
    speakers = {row["speaker"] for row in tuned if row["part"] != "all"}
    tuned = sorted((row for row in tuned if row["speaker"] in speakers), key=lambda r: (r["speaker"], r["minutes"]))
    lines = [
        [row["speaker"], *(f"{row[key]:.2f}" for key in ("minutes", "nats", "pesq", "log_mel_l1"))] for row in tuned
    ]
    return table(["", "minutes", "nats/sample", "PESQ", "log-mel L1"], lines) if lines else ""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Change of nats and of PESQ against the base, the latter with its standard error, for each speaker and system."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    whole = list({(row["speaker"], row["system"]): row for row in reversed(of_all(rows))}.values())[::-1]
    base = {row["speaker"]: row for row in whole if row["system"] == "base"}
    systems = [s for s in SYSTEMS[1:3] if any(row["system"] == s for row in whole)]
    speakers = [name for name in base if any(row["speaker"] == name and row["system"] in systems for row in whole)]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, key, label in zip(axes, ("nats", "pesq"), ("nats per sample", "PESQ")):
        for k, system in enumerate(systems):
            found = {row["speaker"]: row for row in whole if row["system"] == system}
            there = [(i, found[name], base[name]) for i, name in enumerate(speakers) if name in found]
            places = [i + 0.35 * (k - (len(systems) - 1) / 2) for i, _, _ in there]
            gains = [row[key] - before[key] for _, row, before in there]
            errors = [math.hypot(row.get(f"{key}_error", 0), before.get(f"{key}_error", 0)) for _, row, before in there]
            axis.bar(places, gains, 0.33, yerr=errors if any(errors) else None, label=system, color=f"C{k}", capsize=4)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(speakers)), speakers)
        axis.set_title(f"{label}, change against the base", fontsize=10)
    axes[0].legend(fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def report(rows: Sequence[Row]) -> str:
    """All tables, with what they were made of."""
    first = rows[0]
    steps = f", {first['base_steps']} steps" if first.get("base_steps") else ""
    parts = [
        textwrap.fill(
            f"Base: fingerprint `{first['base'][:12]}`{steps}. {first['test_clips']} recordings of each speaker are "
            "measured that were neither trained on nor decided anything; behind the sign ± is the standard error over "
            f"the drawn noise. torch {first['torch']}, {first['threads']} thread(s).",
            120,
        ),
        comparison(rows),
        costs(rows),
        curve(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def publish(rows: Sequence[Row], document: Path, picture: Path | None) -> None:
    """Replace the figures of a document, and draw the picture where one is asked for.

    Raises:
        SystemExit: The document has no place for them.
    """
    text = document.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{document} has no lines {BEGIN!r} and {END!r} between which the figures go")
    before, _, rest = text.partition(BEGIN)
    document.write_text(f"{before}{BEGIN}\n\n{report(rows)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    if picture:
        draw(rows, picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/finetune.jsonl"))
    parser.add_argument("--base", help="beginning of the base's fingerprint; that of the last row unless given")
    parser.add_argument("--into", type=Path, help="document whose figures are replaced; else they are printed")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    rows = read_rows(args.rows, args.base)
    if args.into:
        publish(rows, args.into, args.picture)
    else:
        print(report(rows))


if __name__ == "__main__":
    main()
