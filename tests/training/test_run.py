import copy

import pytest
import torch

from waveflow.audio.mel import MelConfig
from waveflow.bijections import ActNorm, Chain
from waveflow.models import LapGlow, LapGlowConfig
from waveflow.training import TrainingError
from waveflow.training.batches import segments
from waveflow.training.run import Run, build_model, initialize


class NormedLapGlow(LapGlow):
    """A LapGlow whose flow begins with an ActNorm, as no registered model has one."""

    def __init__(self) -> None:
        super().__init__(LapGlowConfig(mel=MelConfig(), n_flows=1, n_channels=2))
        lapped, *others = self.flow.steps
        self.flow = Chain([lapped, ActNorm(self.n_group), *others])


def test_act_norm_is_initialised_by_the_whole_first_batch(small):
    model = NormedLapGlow()
    config = small(data={"batch_size": 8})
    dataset = segments(config, model)
    initialize(model, dataset, 8)
    first = dataset.collate([dataset[i] for i in range(8)])
    bands, _ = model.flow.steps[0](first.audio)
    normed, _ = model.flow.steps[1](bands)
    assert model.flow.steps[1].initialized
    assert normed.mean((0, 2)).abs().max() < 1e-3
    assert (normed.std((0, 2), unbiased=False) - 1).abs().max() < 1e-2


def test_act_norm_that_was_initialised_stays(small):
    model = NormedLapGlow()
    model.flow.steps[1].initialized.fill_(True)
    before = model.flow.steps[1].scale.clone()
    initialize(model, segments(small(), model), 4)
    assert torch.equal(model.flow.steps[1].scale, before)


NEW_SETTINGS = {"betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 0.2, "muon_scale": 3.0, "muon_decay": 0.3}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_goes_on_with_the_new_settings_of_its_optimizer(small, name):
    def start(**settings):
        config = small(optimizer={"name": name, **settings})
        return Run.start(config, build_model(config), torch.device("cpu"))

    old, run, fresh = start(), start(**NEW_SETTINGS), start(**NEW_SETTINGS)
    changes = run.restore(copy.deepcopy(old.state()))
    assert {change.split(":")[0] for change in changes} == {f"optimizer.{key}" for key in NEW_SETTINGS}
    groups, expected = (
        [{key: value for key, value in group.items() if key != "params"} for group in one.optimizer.param_groups]
        for one in (run, fresh)
    )
    assert groups == expected


def test_a_run_of_another_optimizer_is_refused(small):
    old, run = (
        Run.start(config, build_model(config), torch.device("cpu"))
        for config in (small(optimizer={"name": name}) for name in ("adamw", "muon"))
    )
    with pytest.raises(TrainingError, match=r"optimizer\.name=adamw, .* muon .*; go on with adamw"):
        run.restore(old.state())


def test_a_best_loss_of_another_objective_is_forgotten(small):
    def start(weight):
        config = small(objective={"spectral_weight": weight}, train={"patience": 2})
        return Run.start(config, build_model(config), torch.device("cpu"))

    old, same, run = start(0.3), start(0.3), start(1.0)
    old.judge({"nats": 4.0, "bits": 9.2, "loss": -3.0})
    old.step = 2
    assert not old.judge({"nats": 4.0, "bits": 9.2, "loss": -2.0})
    same.restore(old.state())
    assert (same.best_loss, same.stale) == (-3.0, 1)
    assert any(change.startswith("best loss: -3 -> none") for change in run.restore(old.state()))
    assert run.judge({"nats": 3.9, "bits": 9.3, "loss": -1.0})
