"""The research bench: discriminators learn, a row can be rerun."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import DATA
from small_models import moved

from waveflow.checkpoints import native
from waveflow.inference import Vocoder
from waveflow.models import build

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
    trial |= {"projected": 1.0, "mel_weight": 1.0, "adversarial": 0.1, "own": 0.1}
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


def test_speech_of_a_model_s_own_is_as_likely_as_recordings_where_nothing_sharpened_its_density():
    from research.own import FIGURES, figures

    torch.manual_seed(0)
    vocoder = Vocoder(build("lapglow", n_flows=1, n_channels=8, n_encoded=8))
    audio = vocoder(torch.full((80, 40), -5.0), sigma=1.0, seed=1)
    found = figures(vocoder, audio, torch.Generator().manual_seed(0))
    assert found.keys() == FIGURES.keys()
    assert found["given"] == pytest.approx(found["recording"], rel=0.05)
    assert found["moved"] == pytest.approx(found["moved_recording"], rel=0.05)
    with torch.no_grad():
        vocoder.model.flow.steps[1].conditioner.bias.add_(12.0)
    sharp = figures(vocoder, audio, torch.Generator().manual_seed(0))
    assert sharp["moved_recording"] > 1000 * found["moved_recording"]


def test_the_law_of_scaling_is_found_in_runs_that_follow_it(tmp_path):
    from research import scaling

    truth = {"E": 5.1, "a": 0.3, "alpha": 0.5, "b": 0.2, "beta": 0.9}
    theta = (truth["E"], *(np.log(truth[name]) for name in scaling.LAW[1:]))
    sizes = [(n, s) for n in (0.5e6, 1e6, 2e6, 4e6, 8e6) for s in (300, 600, 1200)]
    noise = np.random.default_rng(0).normal(0, 1e-5, len(sizes))
    rows = [
        {"parameters": n, "steps": s, "nats": float(scaling.law(theta, np.array(n), np.array(s)) + error)}
        for (n, s), error in zip(sizes, noise)
    ]
    found = scaling.fit(rows)
    assert found["rms"] < 2e-5
    assert found["E"] == pytest.approx(truth["E"], abs=0.02)
    assert found["alpha"] == pytest.approx(truth["alpha"], rel=0.15)
    assert found["beta"] == pytest.approx(truth["beta"], rel=0.15)
    needed = scaling.parameters_for(found, 4.9, 12000)
    assert scaling.law(theta, np.array(needed), np.array(12000)) == pytest.approx(4.9, abs=0.01)
    assert scaling.parameters_for(found, 5.3, 12000) == np.inf
    lines = scaling.told(rows, (1200, 12000))
    assert lines[0].startswith("15 runs")
    assert lines[1].startswith("E = 5.1")
    for row in rows:
        row["minutes"] = 1.0
    cells = [line.strip("| ").split(" | ") for line in scaling.table(rows)]
    assert [len(row) for row in cells] == 5 * [6]
    assert cells[-1][:2] == ["1200", f"{rows[2]['nats']:.3f} (1.0)"]
    scaling.draw(rows, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 3000
    with pytest.raises(ValueError, match="5 runs were given"):
        scaling.fit(rows[:5])


def test_a_run_of_the_scaling_leaves_a_row(tmp_path, monkeypatch):
    from research import clips, scaling, variants

    monkeypatch.setattr(variants, "SHIPPED", {**variants.SHIPPED, "batch": 2, "segment": 4096})
    monkeypatch.setattr(clips, "HELD_OUT", tmp_path / "heldout.txt")
    (tmp_path / "heldout.txt").write_text("ljspeech/wavs/LJ001-0008.flac\n")
    rows = tmp_path / "rows.jsonl"
    arguments = ["scaling.py", "train", "16x2x0.1", "--data", DATA, "--runs", tmp_path, "--rows", rows]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    scaling.main()
    row = json.loads(rows.read_text())
    assert (row["run"], row["steps"], row["data_minutes"], row["parameters"]) == ("16x2x0.1", 2, 0.1, 490688)
    assert row["nats"] < 0
    assert row["nats_trained"] < 0


def test_a_run_of_the_scaling_begins_as_the_script_says_it_is_called(tmp_path):
    command = [sys.executable, SCRIPTS / "research" / "scaling.py", "train", "8x1", "--data", tmp_path]
    done = subprocess.run([*command, "--runs", tmp_path], capture_output=True, text=True)
    assert done.stderr.startswith("no clip of ")


def test_clips_are_cut_to_the_minutes_asked_for_and_never_held_out_ones():
    from research.clips import Clips, find_clips

    train, held_out = find_clips(DATA)
    assert held_out
    assert not set(held_out) & {path for paths in train.values() for path in paths}
    files = {"held": held_out}
    everything = Clips(files, 22050, 4096, 512)
    little = Clips(files, 22050, 4096, 512, minutes=0.01)
    assert len(little.speakers[0]) == 1 < len(everything.speakers[0])


def test_clips_played_faster_sound_higher_and_fill_a_segment(tmp_path):
    from research.clips import FASTER, Clips

    soundfile.write(tmp_path / "tone.flac", 0.5 * np.sin(2 * np.pi * 200 * np.arange(22050) / 22050), 22050)
    clips = Clips({"tone": [tmp_path / "tone.flac"]}, 22050, 4096, 512, faster=1.0)
    pitches = set()
    for seed in range(8):
        batch = clips.batch(2, np.random.default_rng(seed))
        assert batch.shape == (2, 4096 + 2 * 512)
        peaks = torch.fft.rfft(batch[:, 512:-512] * torch.hann_window(4096), 1 << 17).abs().argmax(1)
        pitches |= {round(peak * 22050 / (1 << 17)) for peak in peaks.tolist()}
    assert pitches == {round(200 * speed) for speed in FASTER}


def test_a_run_goes_on_from_a_shorter_model_without_changing_it(tmp_path):
    from research.settings import Settings
    from research.training import Run

    small = {"n_channels": 8, "n_encoded": 8, "dilations": [1, 2]}
    start = moved(build("lapglow", n_flows=2, **small))
    native.save(start, tmp_path / "start")
    settings = Settings(start=str(tmp_path / "start"), config={"n_flows": 4, **small}, batch=2, segment=4096)
    run = Run(settings, DATA, tmp_path / "run")
    audio, mel = 0.1 * torch.randn(1, 2048), torch.randn(1, 80, 8)
    with torch.no_grad():
        (z, log_det), (wider, same) = start(audio, mel), run.model(audio, mel)
    assert same.item() == pytest.approx(log_det.item(), rel=1e-4)
    assert wider.square().sum().item() == pytest.approx(z.square().sum().item(), rel=1e-4)
    settings.config["n_channels"] = 16
    with pytest.raises(SystemExit, match="n_flows"):
        Run(settings, DATA, tmp_path / "other")


def test_parts_of_a_recording_replace_those_of_a_synthesis():
    from research.parts import EDGES, repaired

    torch.manual_seed(0)
    recording, synthesis = 0.1 * torch.randn(2, 8192)
    found = dict(repaired(recording, synthesis, 22050))
    assert torch.allclose(found.pop("nothing"), synthesis, atol=1e-5)
    before = (synthesis - recording).square().sum()
    bands = [f"{low} to {high} Hz" for low, high in pairwise(EDGES)]
    assert {*bands, "magnitudes", "phases", "quiet frames", "middle frames", "loud frames"} == found.keys()
    for audio in found.values():
        assert (audio - recording).square().sum() < before
    assert all(torch.allclose(audio, recording, atol=1e-5) for _, audio in repaired(recording, recording, 22050))


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
