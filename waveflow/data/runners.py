"""Who cleans the recordings: processes on this machine, or Ray Data on this machine or a cluster. What is done is the
same code."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from waveflow.data.cleaning import Cleaned, CleaningConfig, SetAside, clean_file
from waveflow.data.discovery import Recording
from waveflow.data.journal import fingerprint, target_of
from waveflow.extras import require

RUNNERS = ("local", "ray")
RECORDINGS_PER_TASK = 8
"""Of a Ray task, which is what is done again where a node dies."""


def run(
    runner: str, recordings: Sequence[Recording], out: Path, cleaning: CleaningConfig, workers: int
) -> Iterator[dict[str, Any]]:
    """Clean recordings, in any order.

    Args:
        runner: One of `RUNNERS`.
        recordings: That are there.
        out: Folder of the corpus; with Ray on a cluster, one that all nodes share.
        cleaning: What is done.
        workers: Processes on this machine; Ray on a cluster takes what the cluster has.

    Yields:
        What became of each: a line of the journal.

    Raises:
        OSError: `out` cannot be written.
        RuntimeError: A worker process was killed.
        ValueError: An unknown runner, or one that is not installed.
    """
    if runner not in RUNNERS:
        raise ValueError(f"runner is {runner!r}, expected one of {', '.join(RUNNERS)}")
    return (_by_ray if runner == "ray" else _by_processes)(recordings, out, cleaning, workers)


def clean_one(recording: Recording, out: Path, cleaning: CleaningConfig) -> dict[str, Any]:
    """Clean a recording, a second time where the first fails: storage behind a network has its moments.

    Returns:
        What became of it; with `reason` and `detail` where it is set aside, `failed` for an error that nobody foresaw.

    Raises:
        OSError: `out` cannot be written.
    """
    for is_last in (False, True):
        try:
            return _attempt(recording, out, cleaning)
        except OSError:
            if is_last:
                raise
        except Exception as error:
            if is_last:
                (out / target_of(recording.id)).unlink(missing_ok=True)
                reason, detail = "failed", f"{type(error).__name__}: {error}"
                return {"id": recording.id, "source": fingerprint(_path(recording)), "reason": reason, "detail": detail}
    raise AssertionError


def _attempt(recording: Recording, out: Path, cleaning: CleaningConfig) -> dict[str, Any]:
    path, target = _path(recording), out / target_of(recording.id)
    record: dict[str, Any] = {"id": recording.id, "source": fingerprint(path)}
    made: Cleaned | None
    try:
        made = clean_file(path, target, cleaning)
    except SetAside as error:
        try:
            made = clean_file(path, target, cleaning) if error.reason == "unreadable" else None
        except SetAside as again:
            error, made = again, None
        if made is None:
            target.unlink(missing_ok=True)
            return {**record, "reason": error.reason, "detail": error.detail}
    return {**record, **asdict(made), "bytes": target.stat().st_size}


def _path(recording: Recording) -> Path:
    assert recording.path is not None
    return recording.path


def _by_processes(
    recordings: Sequence[Recording], out: Path, cleaning: CleaningConfig, workers: int
) -> Iterator[dict[str, Any]]:
    if min(workers, len(recordings)) <= 1:
        for recording in recordings:
            yield clean_one(recording, out, cleaning)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
    pool = ProcessPoolExecutor(min(workers, len(recordings)), context, initializer=_start_worker)
    pending: set[Any] = set()
    try:
        for recording in recordings:
            if len(pending) >= 4 * workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            pending.add(pool.submit(clean_one, recording, out, cleaning))
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process was killed, most likely for lack of memory; "
            "start again with fewer workers to go on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes wait for ever for a parent that was killed; these do not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _by_ray(
    recordings: Sequence[Recording], out: Path, cleaning: CleaningConfig, workers: int
) -> Iterator[dict[str, Any]]:
    if not recordings:
        return
    with_ray = _ray(workers)
    rows = [{"recording": json.dumps({**asdict(r), "path": str(_path(r).resolve())})} for r in recordings]
    blocks = -(-len(rows) // RECORDINGS_PER_TASK)
    cleaned = with_ray.data.from_items(rows, override_num_blocks=blocks).map(
        _ray_task(out.resolve(), cleaning.to_dict()), num_cpus=1
    )
    for row in cleaned.iter_rows():
        record = json.loads(row["record"])
        if "error" in record:
            raise OSError(record["error"])
        yield record


def _ray_task(out: Path, cleaning: dict[str, Any]) -> Callable[[dict[str, str]], dict[str, str]]:
    """Clean one row; JSON in and out, so that tables have one column of text whatever a record holds."""

    def clean(row: dict[str, str]) -> dict[str, str]:
        torch.set_num_threads(1)
        facts = json.loads(row["recording"])
        recording = Recording(**{**facts, "path": Path(facts["path"])})
        try:
            record = clean_one(recording, out, CleaningConfig(**cleaning))
        except OSError as error:
            record = {"error": str(error)}
        return {"record": json.dumps(record)}

    return clean


def _ray(workers: int) -> Any:
    """Ray, started here unless there is one already: in this process, or at RAY_ADDRESS."""
    ray = require("ray", "ray")
    require("ray.data", "ray")
    if not ray.is_initialized():
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray
