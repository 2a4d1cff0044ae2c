"""WaveFlow's own: orders of the rows, and an inverse whose rows all cost the same."""

import time

import pytest
import torch
from tolerances import ROUND_TRIP
from torch.utils.flop_counter import FlopCounterMode

from waveflow.audio.mel import MelConfig
from waveflow.bijections import HeightAutoregressive, Permutation
from waveflow.inference.fuse import fuse
from waveflow.models import SIZES, build
from waveflow.models.waveflow import row_permutations
from waveflow.nn.context import Context
from waveflow.nn.wavenet2d import WaveNet2D

SMALL = {"n_flows": 2, "n_channels": 16, "n_layers": 4, "mel": MelConfig.preset("nvidia", n_mels=10)}


def perturbed(**changes):
    model = build("waveflow", **{**SMALL, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return fuse(model)


def naive_inverse(step, z, context):
    """Every row by the whole network over all rows before it, as if nothing were remembered."""
    told, mask = step._told(z, context)
    rows = z[:, [step.order[0]]]
    for n, i in enumerate(step.order[1:], start=1):
        features = told.index_select(2, step.index[1 : n + 1])
        t, log_s = step.conditioner(rows[:, None], Context(features, mask))[:, :, -1].unbind(1)
        rows = torch.cat([rows, ((z[:, i] - t) * torch.exp(-log_s))[:, None]], dim=1)
    return rows.index_select(1, step.inverse_index)


@torch.inference_mode()
def test_remembering_inverse_gives_the_naive_one_s_audio_five_times_as_fast(monkeypatch):
    model = perturbed(n_channels=32, n_layers=6)
    n_frames = 40
    z, mel = torch.randn(1, n_frames * 256), torch.randn(1, 10, n_frames)

    def fastest(repeats):
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            audio = model.inverse(z, mel)
            seconds.append(time.perf_counter() - start)
        return audio, min(seconds)

    audio, quick = fastest(3)
    monkeypatch.setattr(HeightAutoregressive, "inverse", naive_inverse)
    expected, slow = fastest(2)
    assert (audio - expected).abs().max() < ROUND_TRIP[torch.float32]
    assert slow > 5 * quick


@torch.inference_mode()
def test_inverse_counts_no_more_operations_than_forward(monkeypatch):
    model = perturbed(n_layers_per_cycle=2)
    z, mel = torch.randn(1, 4 * 256), torch.randn(1, 10, 4)

    def operations(function):
        with FlopCounterMode(display=False) as counter:
            function(z, mel)
        return counter.get_total_flops()

    forward, inverse = operations(model), operations(model.inverse)
    assert inverse <= forward
    monkeypatch.setattr(HeightAutoregressive, "inverse", naive_inverse)
    assert operations(model.inverse) > 6 * inverse


@pytest.mark.parametrize("kind", ["reverse", "bipartite"])
@pytest.mark.parametrize("n_flows", [1, 2, 3, 4, 5, 6])
def test_every_number_of_steps_makes_a_bijection(kind, n_flows):
    model = perturbed(n_flows=n_flows, permutation=kind)
    z, mel = torch.randn(1, 512), torch.randn(1, 10, 2)
    assert (model(model.inverse(z, mel), mel)[0] - z).abs().max() < ROUND_TRIP[torch.float32]


def test_rows_return_where_they_were_after_an_even_number_of_reversals_or_four_times_of_halves():
    for kind, period in (("reverse", 2), ("bipartite", 4)):
        for n_flows in range(1, 9):
            order = build("waveflow", **{**SMALL, "n_flows": n_flows, "permutation": kind}).flow.steps[-1]
            assert isinstance(order, Permutation)
            assert (order.order == tuple(range(16))) == (n_flows % period == 0), (kind, n_flows)


def test_bipartite_permutation_reverses_each_half_in_the_second_half_of_the_steps():
    assert row_permutations("bipartite", 3, 6) == [[5, 4, 3, 2, 1, 0], [2, 1, 0, 5, 4, 3], [2, 1, 0, 5, 4, 3]]


def test_dilations_over_the_rows_start_again_after_each_cycle_and_in_each_step():
    model = build("waveflow", **{**SMALL, "n_layers": 5, "n_layers_per_cycle": 3})
    for step in model.flow.steps[1:-1]:
        assert step.conditioner.height_dilations == (1, 2, 4, 1, 2)
        assert step.conditioner.dilations == (1, 2, 4, 8, 16)


def test_named_sizes_have_the_paper_s_number_of_parameters():
    # Millions; without the second set of lengths that weight norm keeps.
    published = {"waveflow-64": 5.91, "waveflow-96": 12.78, "waveflow-128": 22.25, "waveflow-256": 86.18}
    for name, millions in published.items():
        assert name in SIZES
        with torch.device("meta"):
            model = build(name)
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_unknown_permutation_and_halves_of_an_odd_height_are_refused():
    with pytest.raises(ValueError, match="expected 'reverse' or 'bipartite'"):
        build("waveflow", permutation="shuffle")
    with pytest.raises(ValueError, match="choose an even n_group"):
        build("waveflow", n_group=15, mel=MelConfig.preset("nvidia", hop_length=255))


def test_a_single_row_is_refused():
    with pytest.raises(ValueError, match="at least two rows"):
        build("waveflow", n_group=1, permutation="reverse")


def test_rows_told_nothing_are_refused():
    step = HeightAutoregressive(WaveNet2D(1, 2, context_channels=3, n_channels=4, n_layers=1), [1, 0])
    with pytest.raises(ValueError, match="context is none"):
        step(torch.zeros(1, 2, 5))
