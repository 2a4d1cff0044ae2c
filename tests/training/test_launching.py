"""The files that start training elsewhere: read as what will read them does."""

import json
import os
import subprocess
import sys

import pytest
from conftest import DATA
from omegaconf import OmegaConf
from runs import SMALL

from waveflow.training.recipe import compose

RECIPES = DATA.parents[1] / "recipes"


def test_the_slurm_script_is_bash_and_asks_slurm_before_its_first_command():
    path = RECIPES / "multinode/slurm.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    directives = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    commands = [i for i, line in enumerate(lines) if not line.startswith("#")]
    assert directives[-1] < commands[0]


def test_the_slurm_script_hands_torchrun_what_it_was_given(tmp_path):
    srun = 'for a in "$@"; do echo "$a"; done\n'
    for name, text in (("srun", srun), ("scontrol", "printf 'first\\nsecond\\n'\n")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / name).chmod(0o755)
    slurm = {"JOB_NODELIST": "x", "JOB_ID": "7", "NNODES": "2", "CPUS_PER_TASK": "64"}
    environment = {f"SLURM_{name}": value for name, value in slurm.items()}
    environment["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(RECIPES / "multinode/slurm.sbatch"), "train.out=a folder"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-1] == "train.out=a folder"
    assert said[said.index("--rdzv-endpoint") + 1] == "first:29400"
    assert said[said.index("--rdzv-id") + 1] == "7-0"


def test_the_kubernetes_job_starts_a_run_that_composes():
    job = OmegaConf.load(RECIPES / "multinode/pytorchjob.yaml")
    (container,) = job.spec.pytorchReplicaSpecs.Worker.template.spec.containers
    command = [*container.command, *container.args]
    recipe = command[command.index("--recipe") + 1]
    overrides = [word for word in command if "=" in word]
    assert compose(RECIPES.parent / recipe, overrides).train.out == "/shared/runs/lapglow"
    mounts = {mount.name for mount in container.volumeMounts}
    assert mounts == {volume.name for volume in job.spec.pytorchReplicaSpecs.Worker.template.spec.volumes}


@pytest.mark.slow
def test_a_sweep_makes_a_run_of_each_combination_and_ranks_them(corpus, tmp_path):
    settings = [f"train.{name}={SMALL['train'][name]}" for name in ("device", "bf16", "listen", "validate_seconds")]
    settings += ["model=lapglow", "+model_config.n_flows=1", "+model_config.n_channels=4", "data.segment=4096"]
    settings += ["train.steps=1", "schedule.warmup=1", "data.workers=0", "data.batch_size=2"]
    sweep = [sys.executable, str(RECIPES / "sweep/sweep.py")]
    command = [*sweep, "--multirun", f"data.manifest={corpus}", "optimizer.lr=1e-4,1e-3", *settings]
    environment = {**os.environ, "PYTHONPATH": str(RECIPES.parent), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    logs = sorted((tmp_path / "runs/sweep").rglob("log.jsonl"))
    assert len(logs) == 2
    said = subprocess.run(
        [*sweep, "--best", "runs/sweep"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    bits = [float(line.split()[0]) for line in said.stdout.splitlines()]
    assert bits == sorted(bits)
    rates = {OmegaConf.load(log.parent / "config.yaml").optimizer.lr for log in logs}
    assert rates == {1e-4, 1e-3}
    assert all(json.loads(log.read_text().splitlines()[-1])["section"] == "held-out" for log in logs)
