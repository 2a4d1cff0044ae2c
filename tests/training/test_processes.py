"""Runs in processes of their own: several at once, and such that die."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import runs
import torch
from runs import checkpoint_of, interrupt_after, log_of, weights_of

from waveflow.training import TrainConfig

pytestmark = pytest.mark.slow

LONG = 1800
"""Seconds after which something hangs; no machine is so busy that it only takes long."""


def command(config: TrainConfig, *launcher: str) -> list[str]:
    """The command line of a run; `launcher` goes between Python and the script."""
    path = Path(config.train.out).with_suffix(".json")
    path.write_text(json.dumps(config.to_dict()))
    return [sys.executable, *launcher, runs.__file__, str(path)]


def torchrun(*arguments: str) -> list[str]:
    return ["-m", "torch.distributed.run", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def finish(*commands: list[str]) -> str:
    """Run commands side by side; what they wrote on stderr."""
    started = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True, env=environment()) for c in commands]
    try:
        said = [process.communicate(timeout=LONG)[1] for process in started]
    finally:
        for process in started:
            process.terminate()
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(said)
    return "\n".join(said)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    until = time.monotonic() + LONG
    while not path.exists():
        assert process.poll() is None, "the run ended before it was stopped"
        assert time.monotonic() < until, f"{path} never appeared"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_same_training(one: TrainConfig, other: TrainConfig, rel: float = 1e-4) -> None:
    """The same figures at every step, to what another order of the sums in float32 makes."""
    for section, keys in (("train", ("nats", "spectral", "grad_norm")), ("held-out", ("nats",))):
        logs = [log_of(config.train.out, section) for config in (one, other)]
        assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
        for key in keys:
            assert [row[key] for row in logs[0]] == pytest.approx([row[key] for row in logs[1]], rel=rel)


@pytest.fixture
def pair(small, tmp_path):
    """Two configs that differ only in their folder, with gradients that clipping does not hide, and a small rate:
    Adam turns a rounding error in a gradient near zero into a whole step, which training at large amplifies."""

    def make(**changes) -> tuple[TrainConfig, TrainConfig]:
        changes = runs.changed({"optimizer": {"lr": 1e-5, "clip": 0}, "train": {"steps": 4}}, changes)
        return tuple(
            small(**runs.changed(changes, {"train": {"out": str(tmp_path / name)}})) for name in ("one", "other")
        )

    return make


NORMED = {"model": "squeezewave", "model_config": {"n_flows": 2, "n_layers": 1, "n_channels": 8}}


@pytest.mark.parametrize(
    "changes",
    [{}, {"train": {"accumulate": 2, "reversible": True}}, NORMED],
    ids=["plain", "parts", "batch norm"],
)
def test_two_processes_equal_one_with_the_same_batch(pair, run, changes):
    one, other = pair(**changes)
    run(one)
    finish(command(other, *torchrun("--standalone", "--nproc-per-node", "2")))
    assert_same_training(one, other)


def test_two_nodes_on_the_loopback_address_equal_one_process(pair, run):
    one, other = pair()
    run(one)
    address = (
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(free_port()),
    )
    finish(*(command(other, *torchrun(*address, "--node-rank", str(rank))) for rank in (0, 1)))
    assert_same_training(one, other)


def test_a_run_goes_on_with_another_number_of_processes(pair, run, monkeypatch):
    one, other = pair()
    run(one)
    interrupt_after(2, monkeypatch)
    assert run(other)[0].reason == "interrupted"
    assert "going on from" in finish(command(other, *torchrun("--standalone", "--nproc-per-node", "2")))
    assert_same_training(one, other)


def test_a_killed_run_goes_on_to_the_same_weights_as_one_that_was_not(pair, run):
    whole, killed = pair(train={"steps": 12, "save_every": 3, "validate_every": 100}, data={"workers": 1})
    run(whole)
    process = subprocess.Popen(command(killed), env=environment(), stderr=subprocess.DEVNULL)
    wait_for(Path(killed.train.out) / "checkpoints" / "step-00000003", process)
    process.kill()
    process.wait(LONG)
    assert checkpoint_of(killed.train.out)["step"] < 12
    assert "going on from" in finish(command(killed))
    assert torch.equal(weights_of(checkpoint_of(whole.train.out)), weights_of(checkpoint_of(killed.train.out)))


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_a_killed_process_from_the_last_checkpoint_to_the_same_weights(pair, rank):
    whole, killed = pair(train={"steps": 8, "save_every": 3, "validate_every": 100})
    launcher = torchrun("--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    said = finish(command(whole, *launcher), [*command(killed, *launcher), str(rank), "5"])
    assert f"exitcode: {-signal.SIGKILL}" in said
    assert [line.split("/")[-1] for line in said.splitlines() if "going on from" in line] == ["step-00000003"]
    # Step 4 was logged before the death, step 5 done; both were done again.
    assert [row["step"] for row in log_of(killed.train.out)] == [1, 2, 3, 4, 4, 5, 6, 7, 8]
    for row in log_of(killed.train.out):
        same = log_of(whole.train.out)[row["step"] - 1]
        assert all(row[key] == same[key] for key in ("nats", "spectral", "grad_norm"))
    assert torch.equal(weights_of(checkpoint_of(whole.train.out)), weights_of(checkpoint_of(killed.train.out)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_cleanly_and_the_run_goes_on_to_the_same_weights(pair, run, number):
    whole, stopped = pair(train={"steps": 12, "save_every": 100, "validate_every": 100}, data={"workers": 1})
    run(whole)
    # To the whole group, as a terminal does, and torchrun.
    process = subprocess.Popen(
        command(stopped), env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(Path(stopped.train.out) / "log.jsonl", process)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=LONG)[1]
    assert process.returncode == 0, said
    assert "interrupted after" in said
    assert checkpoint_of(stopped.train.out)["step"] < 12
    finish(command(stopped))
    assert torch.equal(weights_of(checkpoint_of(whole.train.out)), weights_of(checkpoint_of(stopped.train.out)))
