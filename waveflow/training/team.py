"""The processes of a run: one, or as many as torchrun started, on one machine or several."""

from __future__ import annotations

import datetime
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from waveflow.devices import device_of

TIMEOUT = datetime.timedelta(minutes=10)
"""After which a process that waits for the others gives up: longer than any of them renders or saves alone."""


@dataclass(frozen=True)
class Team:
    """Who this process is among those that train together.

    Attributes:
        device: Where this process computes.
        rank: Number of this process, from 0; process 0 writes.
        size: Number of processes.
        control: Process group (gloo) for messages between hosts, which never wait for a device; None when alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Add up numbers over all processes, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return total.tolist()

    def tell(self, message: Any = None) -> Any:
        """Hand everyone what process 0 says."""
        if self.size == 1:
            return message
        box = [message]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]


@contextmanager
def team_of(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started, or stay alone without it.

    Args:
        device: `cpu`, `cuda`, or `auto` for the GPU of this process where there is one.

    Raises:
        ValueError: A device that is not there.
    """
    rank, size, local_rank = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    place = _device(device, local_rank)
    if size == 1:
        yield Team(place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # A connection or a sum that hangs must fail before people notice, so that torchrun can start the processes again.
    store = store_of_attempt(next(rendezvous("env://", rank, size, timeout=TIMEOUT))[0], rank, size)
    backend = "nccl" if place.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Team(place, rank, size, dist.new_group(backend="gloo", timeout=TIMEOUT))
    finally:
        dist.destroy_process_group()


def store_of_attempt(store: dist.Store, rank: int, size: int) -> dist.Store:
    """The part of a store that belongs to the processes which are here now, and to none before them.

    torchrun has one store for all its restarts, in which it leaves the addresses of processes that are dead; and its
    count of restarts is another on each machine (pytorch/pytorch#135712, #167288). So process 0 gives the attempt a
    name, and tells it to everyone who asks, by a word that was never used before.

    Args:
        store: What torchrun gives: the same for all processes, at every attempt.
        rank: Of this process; all ranks must call.
        size: Number of processes.

    Raises:
        RuntimeError: Some processes did not come within `TIMEOUT`.
    """
    name = uuid.uuid4().hex
    if rank > 0:
        store.set(f"ask/{rank}", name)
        store.wait([f"answer/{name}"], TIMEOUT)
        name = store.get(f"answer/{name}").decode()
        store.set(f"here/{name}/{rank}", "")
        return dist.PrefixStore(name, store)
    until = time.monotonic() + TIMEOUT.total_seconds()
    missing = set(range(1, size))
    while missing:
        for other in sorted(missing):
            if store.check([f"here/{name}/{other}"]):
                missing.remove(other)
            elif store.check([f"ask/{other}"]):
                # Who died before may have asked as well; an answer that nobody reads does no harm.
                store.set(f"answer/{store.get(f'ask/{other}').decode()}", name)
        if time.monotonic() > until:
            raise RuntimeError(f"processes {sorted(missing)} of {size} are not here after {TIMEOUT}; see their logs")
        time.sleep(0.01)
    return dist.PrefixStore(name, store)


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


def _device(name: str, local_rank: int) -> torch.device:
    try:
        place = device_of(name)
        if place == torch.device("cuda"):
            place = torch.device("cuda", local_rank)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"train.device={name} cannot be used here ({reason}); try train.device=auto") from error
    return place
