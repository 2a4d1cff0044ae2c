"""Processes that find each other where others were before them."""

from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist

from waveflow.training.team import store_of_attempt


def attempt(store: dist.Store, size: int) -> list[dist.Store]:
    """What each of so many processes, here threads, gets."""
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: store_of_attempt(store, rank, size), range(size)))


def test_processes_of_an_attempt_share_a_store_and_see_nothing_of_those_before():
    store = dist.HashStore()
    for _ in range(3):
        mine, *others = attempt(store, 3)
        assert not any(each.check(["address"]) for each in (mine, *others))
        mine.set("address", "here")
        assert [each.get("address") for each in others] == [b"here", b"here"]


def test_what_a_process_asked_before_it_died_misleads_nobody():
    store = dist.HashStore()
    store.set("ask/1", "the word of one that died")
    mine, other = attempt(store, 2)
    mine.set("address", "here")
    assert other.get("address") == b"here"


def test_a_process_alone_waits_for_nobody():
    assert isinstance(store_of_attempt(dist.HashStore(), 0, 1), dist.PrefixStore)
