"""The variants that were tried, each as what it sets otherwise than `Settings`."""

from __future__ import annotations

from typing import Any

# The first rows: random rotations, couplings told the frames of the mel as they are, one optimizer rate.
FIRST: dict[str, Any] = {
    "model": "lapglow-tiny",
    "config": {"n_channels": 80, "n_encoded": 0},
    "mixing": "rotation",
    "steps": 600,
}
FURTHER: dict[str, Any] = {**FIRST, "start": "waveflow/pretrained/lapglow-tiny", "steps": 300, "rate": 3e-4}

# What the shipped models are trained by.
SHIPPED: dict[str, Any] = {
    "model": "lapglow-tiny",
    "steps": 600,
    "optimizer": "muon",
    "rate": 2e-3,
    "muon_rate": 2.0,
    "mel_weight": 2.0,
}

HEAVY: dict[str, Any] = {"spectral": 1.0, "mel_weight": 10.0, "sigma": 0.5}

# Going on from the weights of commit 181eb47, under the loss that they were trained by at last.
ONWARD: dict[str, Any] = {
    "start": "waveflow/pretrained/lapglow",
    "steps": 300,
    "warmup": 20,
    "optimizer": "muon",
    "rate": 4e-4,
    "muon_rate": 1.5,
    "muon_decay": 0.1,
    **HEAVY,
}

# Going on from the tiny weights of commit 9e35f3a, under the loss that they were trained by at last.
TINY: dict[str, Any] = {
    "start": "waveflow/pretrained/lapglow-tiny",
    "model": "lapglow-tiny",
    "steps": 600,
    "optimizer": "muon",
    "rate": 5e-4,
    "muon_rate": 2.0,
    "spectral": 0.7,
    "mel_weight": 4.0,
    "loudness": 30.0,
    "sigma": 0.5,
    "faster": 0.2,
}


def _shipped(**changes: Any) -> dict[str, Any]:
    return {**SHIPPED, **changes}


VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": FIRST,
    "likelihood": {**FIRST, "spectral": 0.0},
    "muon": {**FIRST, "optimizer": "muon"},
    "muon-2e-3": {**FIRST, "optimizer": "muon", "rate": 2e-3},
    "rate-2e-3": {**FIRST, "rate": 2e-3},
    "long-segments": {**FIRST, "batch": 8, "segment": 32768},
    "mel-2": {**FIRST, "mel_weight": 2.0},
    "split": {**FIRST, "rate": 2e-3, "mixing": "split"},
    "tuned": FURTHER,
    "tuned-adversarial": {**FURTHER, "adversarial": 0.1},
    "shipped": SHIPPED,
    "shipped-adamw": _shipped(optimizer="adamw"),
    "shipped-muon-1": _shipped(muon_rate=1.0),
    "shipped-muon-4": _shipped(muon_rate=4.0),
    "shipped-rotation": _shipped(mixing="rotation"),
    "shipped-raw": _shipped(config={"n_encoded": 0}),
    "shipped-linear": _shipped(config={"n_encoder_blocks": 0}),
    "shipped-small-batch": _shipped(batch=8, steps=1200),
    "shipped-likelihood": _shipped(spectral=0.0),
    "shipped-mel-0": _shipped(mel_weight=0.0),
    "shipped-projected": _shipped(projected=1.0),
    "shipped-sigma-1": _shipped(sigma=1.0),
    "shipped-kbd": _shipped(config={"window": "kbd"}),
    "shipped-near": _shipped(config={"dilations": [1, 1, 1]}),
    "shipped-many-steps": _shipped(config={"n_flows": 9, "dilations": [1, 2]}),
    "shipped-128-bands": _shipped(config={"mel": {"hop_length": 128}}),
    "shipped-512-bands": _shipped(config={"mel": {"hop_length": 512}}),
    "shipped-no-augment": _shipped(augment=False),
    "shipped-half-minute": _shipped(data_minutes=0.5),
    "shipped-2-minutes": _shipped(data_minutes=2.0),
    "shipped-longer": _shipped(steps=2400),
    "shipped-heavy": _shipped(**HEAVY),
    "shipped-heavy-raw": _shipped(**HEAVY, config={"n_encoded": 0}),
    "shipped-heavy-loudness": _shipped(**HEAVY, loudness=30.0),
    "tiny": TINY,
    "tiny-own": {**TINY, "own": 0.1},
    "onward": ONWARD,
    "onward-loudness": {**ONWARD, "mel_weight": 6.0, "loudness": 30.0},
}
