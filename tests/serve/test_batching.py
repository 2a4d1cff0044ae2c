import threading
import time

import pytest
import torch

from waveflow.inference import Vocoder
from waveflow.serve import ServeConfig
from waveflow.serve.batching import Stopped, Utterance, Worker
from waveflow.serve.service import Service

from .test_vocode import same

SOON = 30


@pytest.fixture
def working(vocoder):
    """Start a worker whose thread waits at its first call until it is let go: `working(...)` is (worker, go, sizes)."""
    workers = []

    def start(**settings):
        sizes, go = [], threading.Event()
        how = {"window": 0.0, "max_frames": 1000, **settings}
        worker = Worker(vocoder, on_batch=lambda size, frames, seconds: sizes.append((size, frames)), **how)
        workers.append(worker)
        worker.start()
        worker.call(lambda: go.wait(SOON))
        return worker, go, sizes

    yield start
    for worker in workers:
        worker.stop()


def test_utterances_that_wait_together_are_computed_together_and_as_if_alone(working, vocoder, mel):
    worker, go, sizes = working()
    wanted = [Utterance(mel[:, : 20 + 7 * i], seed=i, project=i % 2) for i in range(5)]
    futures = [worker.submit(utterance) for utterance in wanted]
    go.set()
    for utterance, future in zip(wanted, futures):
        same(future.result(SOON), vocoder(utterance.mel, seed=utterance.seed, project=utterance.project))
    assert sizes == [(5, sum(utterance.mel.shape[1] for utterance in wanted))]


def test_batches_keep_to_one_sigma_and_to_their_size(working, mel):
    worker, go, sizes = working(max_frames=100)
    lengths_and_sigmas = [(20, 1.0), (20, 0.5), (30, 1.0), (30, 1.0), (60, 1.0), (20, 0.5)]
    futures = [worker.submit(Utterance(mel[:, :n], 0, sigma)) for n, sigma in lengths_and_sigmas]
    go.set()
    for future in futures:
        future.result(SOON)
    assert sizes == [(3, 80), (2, 40), (1, 60)]


def test_the_window_gathers_what_comes_within_it(working, mel):
    worker, go, sizes = working(window=0.5)
    go.set()
    first = worker.submit(Utterance(mel, 0))
    time.sleep(0.05)
    second = worker.submit(Utterance(mel, 1))
    assert worker.call(lambda: "a stream's block").result(0.4) == "a stream's block"
    first.result(SOON), second.result(SOON)
    assert [size for size, _ in sizes] == [2]


def test_what_was_cancelled_is_not_computed(working, mel):
    worker, go, sizes = working()
    futures = [worker.submit(Utterance(mel, seed)) for seed in range(3)]
    assert futures[0].cancel()
    assert futures[2].cancel()
    go.set()
    futures[1].result(SOON)
    assert sizes == [(1, mel.shape[1])]
    assert worker.waiting == 0


def test_one_that_fails_does_not_take_the_others_with_it(working, vocoder, mel):
    worker, go, _ = working()
    bad = worker.submit(Utterance(mel[:79], 0))
    good = worker.submit(Utterance(mel, 1))
    go.set()
    same(good.result(SOON), vocoder(mel, seed=1))
    with pytest.raises(ValueError, match="79 bands"):
        bad.result(SOON)


def test_a_batch_that_is_too_much_for_the_memory_is_computed_one_by_one_and_told_of(vocoder, mel, monkeypatch, caplog):
    original = Vocoder.synthesize

    def scarce(self, mel, *arguments):
        if len(mel) > 1:
            raise torch.OutOfMemoryError("too much")
        return original(self, mel, *arguments)

    monkeypatch.setattr(Vocoder, "synthesize", scarce)
    service = Service(vocoder, ServeConfig(batch_window_ms=500))
    service.start()
    assert "waveflow_batches_split_total 0.0" in service.metrics.text().decode()
    futures = [service.worker.submit(Utterance(mel, seed)) for seed in range(2)]
    for seed, future in enumerate(futures):
        same(future.result(SOON), vocoder(mel, seed=seed))
    service.stop()
    assert "waveflow_batches_split_total 1.0" in service.metrics.text().decode()
    (record,) = caplog.records
    assert "a batch of 2 utterances failed" in record.message
    assert record.exc_info[0] is torch.OutOfMemoryError


def test_what_is_left_when_the_worker_stops_is_told_so(vocoder, mel):
    worker = Worker(vocoder, window=SOON, max_frames=1000)
    worker.start()
    future = worker.submit(Utterance(mel, 0))
    worker.stop()
    assert not worker.alive
    with pytest.raises(Stopped):
        future.result(SOON)
