"""One thread that computes: utterances that wait together are computed together, blocks of streams in between."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from waveflow.inference import Vocoder, project

_log = logging.getLogger(__name__)


class Stopped(RuntimeError):
    """The worker ended before it came to this."""


@dataclass(frozen=True)
class Utterance:
    """What to synthesise: a checked mel `(n_mels, F)` on the CPU, and the settings of `Vocoder.__call__`."""

    mel: Tensor
    seed: int
    sigma: float | None = None
    denoise: float = 0.0
    project: int = 0


@dataclass
class _Job:
    utterance: Utterance
    future: Future[Tensor] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Worker:
    """A thread that owns the vocoder.

    An utterance waits until the window has passed since the oldest one came, or a batch is full. Utterances of one
    sigma share a batch, in the order they came; each gets what it gets alone, on a CPU bit for bit. What is denoised
    is computed alone, as is what is longer than half a batch. Cancelled futures are passed over.

    Args:
        vocoder: The vocoder.
        window: Seconds to wait for company.
        max_frames: Frames of a batch, padding included.
        on_batch: Called with each batch's number of utterances, real frames and seconds taken.
        on_split: Called when a batch has failed and is computed one by one.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        *,
        window: float,
        max_frames: int,
        on_batch: Callable[[int, int, float], None] = lambda *_: None,
        on_split: Callable[[], None] = lambda: None,
    ) -> None:
        self.vocoder = vocoder
        self._window, self._max_frames, self._on_batch, self._on_split = window, max_frames, on_batch, on_split
        self._jobs: deque[_Job] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="waveflow-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the work at hand, drop the rest, and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether work will be done."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Utterances and blocks of streams whose computation has not begun."""
        return len(self._jobs) + len(self._calls)

    def submit(self, utterance: Utterance) -> Future[Tensor]:
        """Queue an utterance; its audio is float32 `(F * hop_length,)`, on the CPU."""
        job = _Job(utterance)
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Queue a short call, which goes before the next batch."""
        future: Future[Any] = Future()
        with self._changed:
            self._calls.append((future, function))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._calls or self._jobs)
                if not self._calls and not self._stopped:
                    self._changed.wait_for(lambda: self._stopped or self._calls or self._full(), self._patience())
                if self._stopped:
                    break
                # Calls of a moment, then one batch: neither kind of work keeps the other waiting for good.
                calls = [self._calls.popleft() for _ in range(len(self._calls))]
                batch = [] if calls and self._patience() > 0 and not self._full() else self._take()
            for future, function in calls:
                _settle(future, function)
            if batch:
                self._compute(batch)
        for future in [*(job.future for job in self._jobs), *(future for future, _ in self._calls)]:
            if future.set_running_or_notify_cancel():
                future.set_exception(Stopped("the server is stopping"))

    def _patience(self) -> float:
        return self._jobs[0].arrived + self._window - time.monotonic() if self._jobs else 0.0

    def _full(self) -> bool:
        return sum(job.utterance.mel.shape[-1] for job in self._jobs) >= self._max_frames

    def _take(self) -> list[_Job]:
        """The oldest utterance, and those that can be computed with it."""
        waiting = [job for job in self._jobs if not job.future.cancelled()]
        if not waiting:
            self._jobs.clear()
            return []
        first, longest = waiting[0].utterance, waiting[0].utterance.mel.shape[-1]
        batch = waiting[:1]
        for job in waiting[1:] if self._mixes(first) else ():
            longer = max(longest, job.utterance.mel.shape[-1])
            fits = longer * (len(batch) + 1) <= self._max_frames
            if fits and self._mixes(job.utterance) and job.utterance.sigma == first.sigma:
                longest = longer
                batch.append(job)
        taken = {id(job) for job in batch}
        self._jobs = deque(job for job in waiting if id(job) not in taken)
        return batch

    def _mixes(self, utterance: Utterance) -> bool:
        return not utterance.denoise and 2 * utterance.mel.shape[-1] <= self._max_frames

    def _compute(self, batch: list[_Job]) -> None:
        batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not batch:
            return
        start = time.monotonic()
        try:
            found = self._together([job.utterance for job in batch]) if len(batch) > 1 else None
        except Exception:
            # One of them, or their number, is too much: the others still get theirs.
            _log.warning("a batch of %d utterances failed and is computed one by one", len(batch), exc_info=True)
            self._on_split()
            found = None
        if found is None:
            for job in batch:
                _finish(job.future, partial(self._alone, job.utterance))
        else:
            for job, audio in zip(batch, found):
                job.future.set_result(audio)
        frames = sum(job.utterance.mel.shape[-1] for job in batch)
        self._on_batch(len(batch), frames, time.monotonic() - start)

    def _alone(self, utterance: Utterance) -> Tensor:
        return self.vocoder(
            utterance.mel,
            sigma=utterance.sigma,
            seed=utterance.seed,
            denoise=utterance.denoise,
            project=utterance.project,
        ).cpu()

    @torch.no_grad()
    def _together(self, utterances: list[Utterance]) -> list[Tensor]:
        # Each was checked by itself; a check of the whole would mix the statistics of strangers.
        vocoder, hop = self.vocoder, self.vocoder.config.mel.hop_length
        frames = [utterance.mel.shape[-1] for utterance in utterances]
        mels = torch.nn.utils.rnn.pad_sequence([u.mel.T for u in utterances], batch_first=True).transpose(1, 2)
        mels, samples = mels.to(vocoder.device), torch.tensor(frames, device=vocoder.device) * hop
        seeds = [utterance.seed for utterance in utterances]
        audio = vocoder.synthesize(mels, 0, samples, utterances[0].sigma, seeds)
        found = []
        for item, mel, n, utterance in zip(audio, mels, frames, utterances):
            own = item[None, : n * hop]
            found.append(project(own, mel[None, :, :n], vocoder.transform, utterance.project)[0].cpu())
        return found


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        _finish(future, function)


def _finish(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
