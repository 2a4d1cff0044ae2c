"""The research bench: discriminators learn, a row can be rerun."""

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import DATA

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(autouse=True)
def scripts_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_discriminators_learn_to_tell_noise_from_a_tone():
    from research.discriminator import SpectralDiscriminator, taken_for_real, told_apart

    torch.manual_seed(0)
    judge = SpectralDiscriminator(resolutions=(256,), n_channels=8)
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    tone, noise = torch.sin(0.3 * torch.arange(4096.0)).repeat(2, 1), torch.randn(2, 4096)
    losses = []
    for _ in range(20):
        losses.append(told_apart(judge(tone), judge(noise)))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert taken_for_real(judge(tone), judge(tone), 2.0) < taken_for_real(judge(tone), judge(noise), 2.0)


def test_two_steps_of_a_variant_leave_a_row(tmp_path, monkeypatch):
    from research import clips, lapglow, variants

    trial = {"model": "lapglow-tiny", "steps": 2, "batch": 2, "segment": 4096, "warmup": 1, "optimizer": "muon"}
    trial |= {"projected": 1.0, "mel_weight": 1.0, "adversarial": 0.1}
    monkeypatch.setitem(variants.VARIANTS, "trial", trial)
    monkeypatch.setattr(clips, "HELD_OUT", tmp_path / "heldout.txt")
    (tmp_path / "heldout.txt").write_text("# one clip\nljspeech/wavs/LJ001-0008.flac\n")
    rows = tmp_path / "rows.jsonl"
    for what in ("train", "evaluate"):
        arguments = ["lapglow.py", what, "trial", "--data", DATA, "--runs", tmp_path, "--rows", rows]
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        lapglow.main()
    row = json.loads(rows.read_text())
    assert (row["variant"], row["steps"]) == ("trial", 2)
    assert row["changes"]["batch"] == 2
    assert row["parameters"] == pytest.approx(2.40, abs=0.01)
    assert {"nats", "pesq", "stoi", "mr_stft", "x_real_time"} <= row.keys()
    assert len(lapglow.table([row])) == 3


def test_clips_are_cut_to_the_minutes_asked_for_and_never_held_out_ones():
    from research.clips import Clips, find_clips

    train, held_out = find_clips(DATA)
    assert held_out
    assert not set(held_out) & {path for paths in train.values() for path in paths}
    files = {"held": held_out}
    everything = Clips(files, 22050, 4096, 512)
    little = Clips(files, 22050, 4096, 512, minutes=0.01)
    assert len(little.speakers[0]) == 1 < len(everything.speakers[0])


def test_a_curve_is_collected_from_logs_and_its_slope_is_per_doubling(tmp_path):
    from research.curves import collect, per_doubling

    (tmp_path / "run").mkdir()
    rows = [{"step": 1, "minutes": 1.0, "nats": 3.0}, {"step": 2, "minutes": 2.0, "ljspeech/nats": 4.0}]
    (tmp_path / "run" / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert collect([tmp_path / "run"]) == [{"run": "run", **rows[1]}]
    assert per_doubling([(1, 2.0), (2, 2.5), (4, 3.0)]) == pytest.approx(0.5)


def test_structure_left_in_latents_is_found_where_there_is_some():
    from research.latents import structure

    torch.manual_seed(0)
    normal = torch.randn(2000, 64)
    found = structure(normal)
    assert found.pop("deviation") == pytest.approx(1, abs=0.01)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=0.03)
    assert found["negentropy"] < 2e-3
    laplace = torch.distributions.Laplace(0.0, 0.5**0.5).sample((2000, 64))
    found = structure(laplace)
    # Of a Laplace density of variance 1: 3, and log(pi / e) / 2 nats.
    assert found["excess kurtosis"] == pytest.approx(3, abs=0.2)
    assert found["negentropy"] == pytest.approx(0.0724, abs=5e-3)
    uneven = normal * torch.rand(2000, 1).add(0.5)
    assert structure(uneven)["next band"] > 0.1
    assert structure(uneven)["next frame"] < 0.03
