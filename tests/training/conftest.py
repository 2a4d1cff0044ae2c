import io
from pathlib import Path

import pytest
import torch
from conftest import DATA
from rich.console import Console
from runs import SMALL, changed, write_corpus

from waveflow.training import Outcome, TrainConfig, train


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(DATA, tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def small(corpus, tmp_path):
    """`small(train={"steps": 3}, ...)`: the config of a small run in `tmp_path / "run"`, with changes."""

    def make(**changes) -> TrainConfig:
        own = {"data": {"manifest": str(corpus)}, "train": {"out": str(tmp_path / "run")}}
        return TrainConfig.from_dict(changed(changed(SMALL, own), changes))

    return make


@pytest.fixture
def run():
    """`run(config)` trains without a word on the terminal: the outcome, and what it would have said.

    On one thread: sums over several are of another order, and a test may compare bits with another process.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def quietly(config: TrainConfig) -> tuple[Outcome, str]:
        text = io.StringIO()
        outcome = train(config, Console(file=text, width=400))
        return outcome, text.getvalue()

    yield quietly
    torch.set_num_threads(n_threads)
