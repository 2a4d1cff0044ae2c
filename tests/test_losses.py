"""Training losses: what they are zero for, what they weigh, what they sum."""

import pytest
import torch

from waveflow.audio.mel import MelConfig, MelSpectrogram
from waveflow.losses import LoudnessDistance, PhaseDistance, SpectralLoss


@pytest.mark.parametrize("weights", [{}, {"loudness_weight": 3.0}, {"phase_weight": 3.0}])
def test_spectral_loss_of_items_is_that_of_each_alone(weights):
    loss = SpectralLoss(MelSpectrogram(), mel_weight=2.0, **weights)
    synthesis, reference = 0.1 * torch.randn(2, 3, 4096)
    assert loss(reference, reference) == 0
    items = loss(synthesis, reference, per_item=True)
    assert items.shape == (3,)
    for i in range(3):
        alone = loss(synthesis[i : i + 1], reference[i : i + 1])
        assert items[i].item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "term"), [("loudness_weight", LoudnessDistance(MelConfig())), ("phase_weight", PhaseDistance())]
)
def test_a_further_distance_is_added_to_the_spectral_loss_by_its_weight(weight, term):
    synthesis, reference = 0.1 * torch.randn(2, 3, 4096)
    without, with_it = (SpectralLoss(MelSpectrogram(), **{weight: w})(synthesis, reference) for w in (0.0, 3.0))
    distance = term(synthesis, reference)
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


def test_phases_may_begin_anywhere_but_must_go_on_as_the_references_do():
    distance, time = PhaseDistance(), torch.arange(16384.0)[None]

    def partials(*frequencies, phase=0.0):
        return 0.1 * sum(torch.sin(frequency * time + phase * (i + 1) ** 2) for i, frequency in enumerate(frequencies))

    reference = partials(0.2, 0.6)
    assert distance(reference, reference) == 0
    begun_elsewhere = distance(partials(0.2, 0.6, phase=1.0), reference)
    assert begun_elsewhere < 0.1
    assert distance(partials(0.2, 0.603), reference) > 3 * begun_elsewhere
    broken = torch.where(time % 1024 < 512, reference, -reference)
    assert distance(broken, reference) > 10 * begun_elsewhere


def test_distances_of_silence_are_finite_and_have_gradients():
    silence = torch.zeros(2, 4096)
    for distance in (PhaseDistance(), LoudnessDistance(MelConfig())):
        for synthesis, reference in ((silence, 0.1 * torch.randn(2, 4096)), (0.1 * torch.randn(2, 4096), silence)):
            made = synthesis.clone().requires_grad_()
            found = distance(made, reference, per_item=True)
            found.sum().backward()
            assert found.isfinite().all()
            assert made.grad.isfinite().all()
