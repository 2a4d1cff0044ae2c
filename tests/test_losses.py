"""Training losses: what they are zero for, what they weigh, what they sum."""

import pytest
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.losses import LoudnessDistance, SpectralLoss


@pytest.mark.parametrize("loudness_weight", [0.0, 3.0])
def test_spectral_loss_of_items_is_that_of_each_alone(loudness_weight):
    loss = SpectralLoss(MelSpectrogram(), mel_weight=2.0, loudness_weight=loudness_weight)
    synthesis, reference = 0.1 * torch.randn(2, 3, 4096)
    assert loss(reference, reference) == 0
    items = loss(synthesis, reference, per_item=True)
    assert items.shape == (3,)
    for i in range(3):
        alone = loss(synthesis[i : i + 1], reference[i : i + 1])
        assert items[i].item() == pytest.approx(alone.item(), rel=1e-5)


def test_loudness_is_added_to_the_spectral_loss_by_its_weight():
    synthesis, reference = 0.1 * torch.randn(2, 3, 4096)
    without, with_it = (SpectralLoss(MelSpectrogram(), loudness_weight=w)(synthesis, reference) for w in (0.0, 3.0))
    distance = LoudnessDistance(MelConfig())(synthesis, reference)
    assert with_it.item() == pytest.approx((without + 3 * distance).item(), rel=1e-5)


def test_loudness_sets_apart_what_is_loud():
    distance = LoudnessDistance(MelConfig())
    time = torch.arange(8192.0)[None]
    loud, quiet = 0.3 * torch.sin(0.06 * time), 0.003 * torch.sin(0.6 * time)
    assert distance(loud + quiet, loud + quiet) == 0
    assert distance(2 * loud, loud).item() == pytest.approx(2**0.6 - 1, rel=0.02)
    assert distance(loud + 2 * quiet, loud + quiet) < 0.3 * distance(2 * loud + quiet, loud + quiet)
    made = loud.clone().requires_grad_()
    distance(made, 0.5 * loud).backward()
    assert made.grad.isfinite().all()


def test_loudness_takes_rate_and_bands_of_a_contract_but_not_its_scale():
    plain, scaled = (LoudnessDistance(MelConfig(log=log, f_max=None)) for log in ("ln", "log10"))
    synthesis, reference = 0.1 * torch.randn(2, 1, 4096)
    assert plain(synthesis, reference) == scaled(synthesis, reference)
    assert [mel.config.f_max for mel in scaled.mels] == [None] * 3
