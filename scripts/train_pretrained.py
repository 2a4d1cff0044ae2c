"""Train a bundled LapGlow on LJSpeech and kathleen, by likelihood and by spectral distance through the inverse.

    python scripts/train_pretrained.py --data ../speech --out runs/lapglow --set steps=5000
    python scripts/train_pretrained.py --data ../speech --out runs/tiny --set model=lapglow-tiny --until 1000

Settings are those of `scripts/research/settings.py`. The learning rate depends on the step alone, and the state, which
is written every few minutes, holds everything: a run that was stopped, or given `--until`, goes on where it was when
the same command is called again. Weights, log and state are in `--out`.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
from pathlib import Path

from research.settings import Settings
from research.training import Run


def settings_from(overrides: list[str]) -> Settings:
    """Settings from `name=value` words, values as Python literals or plain text."""
    known = [field.name for field in dataclasses.fields(Settings)]
    found = {}
    for word in overrides:
        name, _, value = word.partition("=")
        if name not in known:
            raise SystemExit(f"no setting is called {name!r}; there are {', '.join(known)}")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return Settings(**found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ljspeech/ and kathleen/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings other than the defaults")
    parser.add_argument("--until", type=int, help="stop after this step, to go on later")
    parser.add_argument("--validate-every", type=int, default=500, help="steps")
    args = parser.parse_args()
    Run(settings_from(args.set), args.data, args.out).train(args.until, args.validate_every)


if __name__ == "__main__":
    main()
