"""The variants that were tried, each as what it sets otherwise than `Settings`."""

from __future__ import annotations

from typing import Any

BASELINE: dict[str, Any] = {"model": "lapglow-tiny", "steps": 600}
TUNED: dict[str, Any] = {"start": "waveflow/pretrained/lapglow-tiny", "steps": 300, "rate": 3e-4}

VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": BASELINE,
    "likelihood": {**BASELINE, "spectral": 0.0},
    "muon": {**BASELINE, "optimizer": "muon"},
    "muon-2e-3": {**BASELINE, "optimizer": "muon", "rate": 2e-3},
    "rate-2e-3": {**BASELINE, "rate": 2e-3},
    "long-segments": {**BASELINE, "batch": 8, "segment": 32768},
    "small-batch": {**BASELINE, "batch": 8, "steps": 1200},
    "share-1": {**BASELINE, "share": 1.0},
    "share-quarter": {**BASELINE, "share": 0.25, "spectral": 0.6},
    "spectral-1": {**BASELINE, "spectral": 1.0},
    "mel-2": {**BASELINE, "mel_weight": 2.0},
    "projected": {**BASELINE, "projected": 1.0},
    "kbd": {**BASELINE, "config": {"window": "kbd"}},
    "sigma-1": {**BASELINE, "sigma": 1.0},
    "tuned": {**BASELINE, **TUNED},
    "tuned-adversarial": {**BASELINE, **TUNED, "adversarial": 0.1},
    "tuned-projected": {**BASELINE, **TUNED, "projected": 1.0},
    "no-augment": {**BASELINE, "augment": False},
}
