import math

import numpy as np
import pytest
import torch
from runs import checkpoint_of, log_of, weights_of

from waveflow.audio.io import read
from waveflow.audio.mel import MelSpectrogram
from waveflow.checkpoints import load
from waveflow.checkpoints.native import read_facts
from waveflow.data.manifest import Manifest
from waveflow.training import TrainingError
from waveflow.training.objective import Objective, Part
from waveflow.training.run import Run, build_model
from waveflow.training.team import Team
from waveflow.training.validation import held_out, score


def test_the_loss_falls_on_real_speech(small, run):
    config = small(train={"steps": 60, "validate_every": 60, "save_every": 60}, optimizer={"lr": 3e-3})
    outcome, text = run(config)
    log = log_of(config.train.out)
    first, last = ({k: np.mean([row[k] for row in rows]) for k in ("nats", "spectral")} for rows in (log[:5], log[-5:]))
    assert last["nats"] > first["nats"] + 1
    assert last["spectral"] < first["spectral"] / 3
    assert outcome.reason == "finished"
    assert math.isfinite(outcome.bits)
    assert "finished after 60 steps" in text


def test_the_model_at_the_end_is_the_native_checkpoint_of_the_averaged_weights(small, run):
    config = small()
    outcome, _ = run(config)
    state, model = checkpoint_of(config.train.out), load(outcome.model)
    assert state["step"] == 6
    assert all(torch.equal(state["average"][name], value) for name, value in model.state_dict().items())
    assert any(not torch.equal(state["model"][name], value) for name, value in model.state_dict().items())
    told = read_facts(outcome.model)["metadata"]["training"]
    assert told["steps"] == 6
    assert told["held_out"]["bits"] == log_of(config.train.out, "held-out")[-1]["bits"]


def test_the_best_validation_is_kept_as_a_model(small, run):
    config = small(train={"validate_every": 1, "steps": 8}, optimizer={"lr": 2e-3})
    outcome, _ = run(config)
    log = log_of(config.train.out, "held-out")
    best = min(log, key=lambda row: row["loss"])
    told = read_facts(f"{config.train.out}/best")["metadata"]["training"]
    assert (told["steps"], told["held_out"]["bits"]) == (best["step"], best["bits"])
    assert outcome.bits == best["bits"]


def test_accumulated_parts_equal_the_whole_batch(small, run, tmp_path):
    states, base = [], run(small())[0].model
    for parts in (1, 2, 4):
        one_step = {"accumulate": parts, "steps": 1, "init": str(base), "out": str(tmp_path / str(parts))}
        own = {"own_weight": 0.2}
        config = small(train=one_step, model_config={}, schedule={"warmup": 0}, objective=own)
        run(config)
        states.append(checkpoint_of(config.train.out))
        figures = log_of(config.train.out)[-1]
        assert figures["nats"] == pytest.approx(log_of(tmp_path / "1")[-1]["nats"], rel=1e-5)
        assert figures["spectral"] == pytest.approx(log_of(tmp_path / "1")[-1]["spectral"], rel=1e-5)
        assert figures["own"] == pytest.approx(log_of(tmp_path / "1")[-1]["own"], rel=1e-4, abs=1e-6)
    for state in states[1:]:
        # Adam takes the same step for a gradient of any size, rounding errors too, so its moments are compared.
        one, other = (s["optimizer"]["state"] for s in (states[0], state))
        for key in one:
            scale = one[key]["exp_avg"].abs().max()
            assert scale > 0
            assert (one[key]["exp_avg"] - other[key]["exp_avg"]).abs().max() < 1e-5 * scale


def test_a_batch_that_cannot_be_split_is_refused(small, run):
    with pytest.raises(ValueError, match="make it a multiple of 3"):
        run(small(train={"accumulate": 3}))


def test_reversible_training_takes_the_same_steps(small, run, tmp_path):
    """At a small rate: Adam turns a rounding error into a whole step, and the two passes round differently."""
    logs = []
    for reversible in (False, True):
        out = str(tmp_path / str(reversible))
        config = small(train={"reversible": reversible, "out": out}, optimizer={"lr": 1e-5, "clip": 0})
        run(config)
        logs.append([row[key] for row in log_of(out) for key in ("nats", "spectral", "grad_norm")])
    assert logs[0] == pytest.approx(logs[1], rel=1e-3)


def test_a_step_whose_gradient_is_far_from_usual_is_left_out(small, run, monkeypatch, tmp_path):
    apply = Run.apply_gradients

    def burst(self):
        if self.step == 4:
            for weight in self.parameters:
                weight.grad.mul_(1e4)
        before = [weight.detach().clone() for weight in self.parameters]
        norm = apply(self)
        moved.append(not all(torch.equal(a, b) for a, b in zip(before, self.parameters)))
        return norm

    monkeypatch.setattr(Run, "apply_gradients", burst)
    for unusual, expected in ((8.0, [True, True, True, True, False, True]), (0.0, [True] * 6)):
        moved = []
        outcome, _ = run(small(optimizer={"unusual": unusual}, train={"out": str(tmp_path / str(unusual))}))
        assert moved == expected
        assert outcome.step == 6


def test_a_gradient_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(small, run, monkeypatch):
    config = small()
    weigh = Objective.forward
    calls = []

    def sometimes_nan(self, part):
        calls.append(part)
        likelihood, *others = weigh(self, part)
        return likelihood * (float("nan") if len(calls) == 4 else 1), *others

    monkeypatch.setattr(Objective, "forward", sometimes_nan)
    with pytest.raises(TrainingError, match=r"step 4 is not finite.*last good checkpoint is .*step-00000003: go on"):
        run(config)
    state = checkpoint_of(config.train.out)
    assert state["step"] == 3
    assert weights_of(state).isfinite().all()


def test_training_starts_from_a_native_checkpoint_and_moves_only_the_chosen_weights(small, run, tmp_path):
    base, _ = run(small())
    config = small(
        model_config={}, train={"init": str(base.model), "trainable": ["*.end.*"], "out": str(tmp_path / "b")}
    )
    tuned, _ = run(config)
    before, after = load(base.model).state_dict(), load(tuned.model).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".end." in name}


def test_a_pattern_that_fits_no_weight_is_refused(small, run):
    with pytest.raises(ValueError, match=r"'\*\.ending\.\*', which fits no weight"):
        run(small(train={"trainable": ["*.ending.*"]}))


def test_syntheses_are_made_for_their_likelihood_alone_too(small, run):
    config = small(objective={"spectral_weight": 0.0, "own_weight": 0.2}, train={"steps": 2})
    run(config)
    assert all(row["own"] >= 0 for row in log_of(config.train.out))


def test_validation_tells_the_loss_that_is_minimised(small, run):
    for weight, own in ((0.3, 0.0), (0.0, 0.0), (0.3, 0.2)):
        out = f"{small().train.out}-{weight}-{own}"
        config = small(objective={"spectral_weight": weight, "own_weight": own}, train={"out": out})
        run(config)
        for row in log_of(config.train.out, "held-out"):
            weighted = weight * row.get("spectral", 0.0) + own * row.get("own", 0.0)
            assert row["loss"] == pytest.approx(weighted - row["nats"])
            assert ("spectral" in row, "own" in row) == (weight > 0, own > 0)


def test_validation_measures_how_much_less_likely_syntheses_are_as_training_does(small):
    config = small(objective={"own_weight": 0.2})
    model = build_model(config)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    run, clips = Run.start(config, model, torch.device("cpu")), held_out(config, model)
    assert len(clips) > 1
    expected = samples = 0.0
    for index in range(len(clips)):
        audio = clips[index].audio[None]
        mel = clips[index].mel[None, :, : audio.shape[1] // model.mel_config.hop_length]
        generator = torch.Generator().manual_seed(index)
        uniform, latent = (draw(audio.shape, generator=generator) for draw in (torch.rand, torch.randn))
        with torch.no_grad():
            expected += audio.shape[1] * float(run.objective(Part(audio, mel, uniform, torch.tensor([0]), latent))[2])
        samples += audio.shape[1]
    assert expected > 0
    assert score(run, clips, Team(torch.device("cpu")))["own"] == pytest.approx(expected / samples, rel=0.02)


def test_patience_ends_the_run_and_the_best_validation_is_the_model(small, run):
    config = small(train={"validate_every": 1, "patience": 2, "steps": 40})
    outcome, text = run(config)
    held_out = [row["loss"] for row in log_of(config.train.out, "held-out")]
    best = min(range(len(held_out)), key=held_out.__getitem__)
    assert outcome.reason == "no improvement"
    assert len(held_out) == best + 3
    assert "no improvement after" in text
    told = read_facts(outcome.model)["metadata"]["training"]
    assert (told["steps"], told["held_out"]["loss"]) == (best + 1, held_out[best])
    assert run(config)[0] == outcome


def test_tensorboard_gets_figures_sound_and_pictures(small, run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(train={"listen": 1})
    run(config)
    events = EventAccumulator(f"{config.train.out}/tensorboard", size_guidance={"audio": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/nats", "train/steps_per_s", "held-out/nats", "held-out/bits", "held-out/log_mel_l1"} <= set(
        tags["scalars"]
    )
    recording, synthesis = sorted(tags["audio"])
    assert len(events.Audio(recording)) == 1
    assert len(events.Audio(synthesis)) == 2
    image = events.Images(tags["images"][0])[0]
    assert (image.height, image.width) == (3 * 80 + 4, 1 + 11008 // 256)


def test_training_on_the_mels_of_an_acoustic_model_that_are_a_frame_short(small, run, corpus, tmp_path):
    manifest, transform = Manifest.read(corpus), MelSpectrogram()
    for entry in manifest.entries:
        path = tmp_path / "mels" / f"{entry.id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        mel = transform(read(manifest.path(entry))[0])
        np.save(path, (mel + 0.1 * torch.randn_like(mel))[:, :-1].numpy())
    outcome, _ = run(small(data={"mels": str(tmp_path / "mels")}, train={"steps": 2, "listen": 1}))
    assert outcome.reason == "finished"
    own, _ = run(small(train={"steps": 2, "out": str(tmp_path / "own")}))
    assert outcome.bits != own.bits


def test_a_corpus_of_another_rate_is_refused(small, run):
    with pytest.raises(ValueError, match=r"22050.*24000"):
        run(small(model_config={"mel": {"sample_rate": 24000}, "n_flows": 2}))


def test_a_segment_too_short_for_the_spectral_loss_is_refused(small, run):
    with pytest.raises(ValueError, match=r"data\.segment=1024 is shorter.*at least 1280"):
        run(small(data={"segment": 1024}))
