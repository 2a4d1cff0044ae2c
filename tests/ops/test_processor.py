"""PyTorch's threads come back, however calls overlap."""

from __future__ import annotations

import threading

import pytest
import torch

from waveflow.ops.processor import one_thread


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def company():
    """Another thread of the process, as whoever starts threads during a call needs."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    yield
    done.set()
    other.join()


def test_one_thread_inside_and_all_of_them_after():
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_an_error_inside_gives_them_back():
    with pytest.raises(ValueError, match="no number"), one_thread():
        raise ValueError("no number")
    assert torch.get_num_threads() == 3


def test_nothing_changes_where_it_is_not_wanted():
    with one_thread(False):
        assert torch.get_num_threads() == 3


def test_calls_that_overlap_leave_every_thread_as_it_was(company):
    inside, outer_left = threading.Event(), threading.Event()
    found = {}

    def overlapping() -> None:
        with one_thread():
            inside.set()
            outer_left.wait(10)
            found["during"] = torch.get_num_threads()
        found["after"] = torch.get_num_threads()

    other = threading.Thread(target=overlapping)
    with one_thread():
        other.start()
        assert inside.wait(10)
    outer_left.set()
    other.join(10)
    assert found == {"during": 1, "after": 3}
    assert torch.get_num_threads() == 3


def asked_in_a_new_thread() -> int:
    found = []
    asking = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    asking.start()
    asking.join()
    return found[0]


def test_a_thread_that_asks_for_the_first_time_meanwhile_has_all_of_them_and_keeps_them(company):
    with one_thread():
        assert asked_in_a_new_thread() == 3
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert asked_in_a_new_thread() == 3


def test_nobody_is_told_where_nobody_can_ask(monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    started = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert (started, torch.get_num_threads()) == ([], 3)


def test_a_thread_with_one_of_its_own_leaves_the_others_theirs():
    has_one, others_have_three, found = threading.Event(), threading.Event(), []

    def alone() -> None:
        torch.get_num_threads()  # else the number of all would be taken over later
        torch.set_num_threads(1)
        has_one.set()
        others_have_three.wait(10)
        with one_thread():
            pass
        found.append(torch.get_num_threads())

    own = threading.Thread(target=alone)
    own.start()
    assert has_one.wait(10)
    torch.set_num_threads(3)
    others_have_three.set()
    own.join()
    assert (found, asked_in_a_new_thread()) == ([1], 3)
