import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recipe_modules
import torch

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "densities"


def load(name):
    spec = importlib.util.spec_from_file_location(f"densities_{name}", RECIPE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


targets = load("targets")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_density_integrates_to_one_and_its_samples_follow_it(name):
    target = targets.Target(name)
    # A grid that the target's own does not contain.
    points = targets.grid(500)
    log_prob = target.log_prob(points)
    mass = log_prob.exp() * (8 / 500) ** 2
    assert abs(mass.sum() - 1) < 2e-3
    samples = target.sample(20000, torch.Generator().manual_seed(0))
    inside = mass > 0
    negative_entropy = (mass[inside] * log_prob[inside]).sum()
    assert abs(target.log_prob(samples).mean() - negative_entropy) < 0.03
    assert (samples.mean(0) - (mass[:, None] * points).sum(0)).abs().max() < 0.08


def test_energies_are_those_of_the_paper_at_a_point_worked_by_hand():
    x = torch.tensor([1.0, 0.5])
    # There the wave is 1, the bump 3, the step 1.5.
    assert math.isclose(targets.energy_2(x).item(), -0.5 * (0.5 / 0.4) ** 2, rel_tol=1e-5)
    expected = math.log(math.exp(-0.5 * (0.5 / 0.35) ** 2) + math.exp(-0.5 * (2.5 / 0.35) ** 2))
    assert math.isclose(targets.energy_3(x).item(), expected, rel_tol=1e-5)
    expected = math.log(math.exp(-0.5 * (0.5 / 0.4) ** 2) + math.exp(-0.5 * (1 / 0.35) ** 2))
    assert math.isclose(targets.energy_4(x).item(), expected, rel_tol=1e-5)
    sides = math.log(math.exp(-0.5 * (1 / 0.6) ** 2) + math.exp(-0.5 * (3 / 0.6) ** 2))
    ring = -0.5 * ((math.sqrt(1.25) - 2) / 0.4) ** 2
    assert math.isclose(targets.energy_1(x).item(), ring + sides, rel_tol=1e-5)


def test_what_is_scored_was_neither_trained_on_nor_chosen_by():
    run, families = recipe_modules.load("densities", "run", "families")
    scored = [*run.SPLITS.values()]
    assert len(set(scored)) == len(scored) == 2
    assert run.Config().split == "test"
    target = targets.Target("moons")
    draws = [target.sample(50, torch.Generator().manual_seed(seed)) for seed in (*run.Config().seeds, *scored)]
    apart = torch.cdist(torch.cat(draws), torch.cat(draws)) + torch.eye(50 * len(draws))
    assert (apart > 0).all()
    # A continuous flow is scored by the equation, not by the steps that it was trained with.
    flow = families.build("continuous")
    families.solve_exactly(flow)
    assert (flow.steps[1].solver, flow.steps[1].n_steps) == ("dopri5", None)


@pytest.mark.slow
def test_recipe_leaves_a_table_and_a_picture(tmp_path):
    command = [sys.executable, RECIPE / "run.py", "steps=2", "n_test=100", "jobs=1", f"out={tmp_path}"]
    chosen = ["targets=[moons]", "families=[gaussian,nsf]"]
    subprocess.run([*command, *chosen], check=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    nats, gaps = (tmp_path / "table.md").read_text().split("\n\n")
    assert [line.split("|")[1].strip() for line in nats.splitlines()[2:]] == ["gaussian", "nsf", "the density itself"]
    assert [line.split("|")[1].strip() for line in gaps.splitlines()[2:]] == ["gaussian", "nsf"]
    row = json.loads((tmp_path / "moons" / "nsf-0.json").read_text())
    assert row["split"] == "test"
    assert math.isfinite(row["nats"])
    assert row["nats"] < row["truth"]
    assert math.isclose(row["gap"], row["truth"] - row["nats"], abs_tol=1e-4)
    assert (tmp_path / "moons.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"), [("targets=[moon]", "unknown: moon; there are moons"), ("step=3", "step")]
)
def test_names_and_keys_that_do_not_exist_fail(override, said, tmp_path):
    command = [sys.executable, RECIPE / "run.py", override, f"out={tmp_path}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert said in result.stderr
