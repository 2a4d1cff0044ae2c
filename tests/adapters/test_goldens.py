"""The contracts against mels that the packages computed themselves, and against the packages where they are."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import waveflow.adapters
from waveflow.audio.mel import MelSpectrogram

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="module")
def golden_mels():
    spec = importlib.util.spec_from_file_location("golden_mels", ROOT / "scripts" / "golden_mels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_mels"] = module
    spec.loader.exec_module(module)
    return module


def ours(name, audio, settings):
    config = waveflow.adapters.espnet(**settings) if name == "espnet" else getattr(waveflow.adapters, name)(settings)
    mel = MelSpectrogram(config)(torch.from_numpy(audio))
    if name == "nemo":
        # NeMo does not count the last frame that it computes, and fills it.
        mel[:, (len(audio) + sum(config.margins) - config.n_fft) // config.hop_length] = config.pad_value
    return mel


def agree(found, expected):
    n_frames = min(found.shape[-1], expected.shape[-1])
    assert n_frames >= 20
    assert abs(found.shape[-1] - expected.shape[-1]) <= 1
    # Where a band is all but silent, a logarithm shows how each rounds.
    torch.testing.assert_close(found[:, :n_frames], expected[:, :n_frames], atol=2e-3, rtol=0)


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.npz")), ids=lambda path: path.stem)
def test_the_contract_computes_the_package_s_own_mels(path, golden_mels):
    with np.load(path) as file:
        settings = json.loads(str(file["about"]))["settings"]
        for kind, told in settings.items():
            agree(ours(path.stem, golden_mels.speech(path.stem), told), torch.from_numpy(file[kind]))


@pytest.mark.parametrize("name", ["coqui", "espnet", "nemo"])
def test_the_package_itself_computes_the_contract_s_mels(name, golden_mels):
    for settings in golden_mels.SETTINGS[name].values():
        try:
            expected = golden_mels.COMPUTE[name](golden_mels.speech(name), settings)
        except ImportError as error:
            pytest.skip(f"needs {golden_mels.PACKAGES[name]}: {str(error).strip().splitlines()[0]}")
        agree(ours(name, golden_mels.speech(name), settings), torch.from_numpy(expected))
