import json
import math

import pytest
import torch
from recipe_modules import load

gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium: pip install 'waveflow[recipes]'")
doors, policies, ppo, run = load("control", "doors", "policies", "ppo", "run")

LOW, HIGH = torch.tensor([-2.0]), torch.tensor([1.0])


def test_doors_are_an_environment_that_gymnasium_accepts():
    from gymnasium.utils.env_checker import check_env

    check_env(doors.TwoDoors(), skip_render_check=True)


def test_one_door_is_open_and_walking_elsewhere_ends_after_twenty_attempts():
    env = doors.TwoDoors()
    opened = []
    for seed in range(8):
        env.reset(seed=seed)
        opened.append(env.step([0.7])[2])
    assert set(opened) == {True, False}
    env.reset(seed=0)
    ends = [env.step([0.0])[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]


@pytest.mark.parametrize("name", ["bounded gaussian", "flow"])
def test_bounded_policies_stay_in_the_box_and_have_all_their_mass_there(name):
    policy = policies.POLICIES[name](2, LOW, HIGH)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        seen = torch.tensor([[0.5, -1.0]])
        actions = policy.sample(1000, seen.expand(1000, -1))
        assert actions.min() >= LOW
        assert actions.max() <= HIGH
        # Half-way into cells that lie denser towards the edges, where the density may run up.
        ends = LOW + (HIGH - LOW) * (0.5 - 0.5 * torch.cos(torch.linspace(0, math.pi, 4001)))
        log_prob = policy.log_prob((ends[1:, None] + ends[:-1, None]) / 2, seen.expand(4000, -1))
        assert abs((log_prob.exp() * ends.diff()).sum() - 1) < 0.01
        assert policy.log_prob(torch.stack([LOW, HIGH]), seen.expand(2, -1)).isfinite().all()


@pytest.mark.parametrize("name", policies.POLICIES)
def test_what_went_better_than_expected_becomes_likelier(name):
    torch.manual_seed(0)
    learner = ppo.Learner(
        doors.TwoDoors, policies.POLICIES[name], n_envs=4, discount=1.0, scale=1.0, learning_rate=1e-2, seed=0
    )
    experience = learner.experience(64)
    experience.advantages = torch.where(experience.actions[..., 0] > 0, 1.0, -1.0)
    seen = torch.zeros(2000, 1)
    before = (learner.policy.sample(2000, seen) > 0).float().mean()
    learner.improve(experience)
    assert (learner.policy.sample(2000, seen) > 0).float().mean() > before + 0.05


def test_an_episode_that_runs_out_of_time_still_has_a_future():
    task = {"discount": 0.5, "scale": 1.0}
    learner = ppo.Learner(doors.TwoDoors, policies.flow, n_envs=1, learning_rate=0.0, seed=0, **task)
    torch.nn.init.constant_(learner.value.end.bias, 8.0)
    for env in learner.envs:
        env.DOOR = 5.0
        env.reset(seed=0)
    experience = learner.experience(20)
    assert experience.returns == [-20]
    # Every step: the reward, and half of the 8 expected afterwards, less the 8 expected before.
    assert torch.allclose(experience.advantages[-1], torch.tensor([-1 + 4.0 - 8.0]))


def test_recipe_leaves_a_table_and_a_picture(tmp_path):
    steps = {"doors": 320, "pendulum": 320}
    run.main(
        run.Config(policies=["gaussian", "flow"], steps=steps, n_envs=2, horizon=210, seeds=[0], out=str(tmp_path))
    )
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["task"], row["policy"]) for row in rows[:2]] == [("doors", "gaussian"), ("doors", "flow")]
    assert all(math.isfinite(row["return"]) for row in rows)
    assert (tmp_path / "policies.png").stat().st_size > 1000
