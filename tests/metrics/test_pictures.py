import sys

import numpy as np
import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.metrics import evaluation_mel, save_comparison


def pixels(path):
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_the_picture_shows_three_panels_and_no_difference_between_equals(speech, tmp_path):
    audio, rate = speech
    save_comparison(tmp_path / "same.png", audio, audio, evaluation_mel(rate), title="a clip")
    save_comparison(tmp_path / "half.png", audio, 0.2 * audio, evaluation_mel(rate))
    same, half = pixels(tmp_path / "same.png"), pixels(tmp_path / "half.png")
    assert same.shape == (800, 1000, 3)
    upper, middle, lower = (same[y, 100:800] for y in (150, 400, 650))
    assert upper.std() > 0.05
    np.testing.assert_allclose(upper.std(), middle.std(), atol=0.1)
    assert lower.std() < 0.02
    quieter = half[650, 100:800]
    assert (quieter[:, 2] - quieter[:, 0]).mean() > 0.1


def test_every_mel_convention_is_drawn(speech, tmp_path):
    audio, _ = speech
    for name in ("flowavenet", "nemo", "parallelwavegan"):
        save_comparison(tmp_path / f"{name}.png", audio, audio, MelConfig.preset(name))
        assert pixels(tmp_path / f"{name}.png").std() > 0.05


def test_silence_is_drawn(tmp_path):
    save_comparison(tmp_path / "a.png", torch.zeros(8000), torch.zeros(8000), MelConfig())
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_pair_that_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="trim"):
        save_comparison(tmp_path / "a.png", torch.zeros(8000), torch.zeros(8001), MelConfig())
    with pytest.raises(ValueError, match="one by one"):
        save_comparison(tmp_path / "a.png", torch.zeros(1, 8000), torch.zeros(1, 8000), MelConfig())


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="waveflow\\[metrics\\]"):
        save_comparison(tmp_path / "a.png", torch.zeros(8000), torch.zeros(8000), MelConfig())
