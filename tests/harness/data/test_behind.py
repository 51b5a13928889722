"""What a thread does behind a pass over pictures is done when the pass is over."""

import os
import pickle
import threading

import pytest

from harness.data.behind import MOST, Behind


def test_calls_are_done_in_order_by_another_thread() -> None:
    behind, done = Behind(), list[tuple[int, int]]()
    for number in range(3 * MOST):
        behind.do(lambda number=number: done.append((number, threading.get_ident())))
    behind.settle()
    assert [number for number, _ in done] == list(range(3 * MOST))
    assert {thread for _, thread in done} != {threading.get_ident()}
    behind.settle()  # nothing is left


def test_no_more_than_so_many_calls_wait() -> None:
    behind, free, done = Behind(), threading.Event(), list[int]()
    behind.do(free.wait)
    for number in range(MOST - 1):
        behind.do(done.append, number)
    assert not done
    threading.Timer(0.05, free.set).start()
    behind.do(done.append, MOST)
    assert free.is_set(), "one call too many waits for the first"
    behind.settle()


def test_what_a_call_raises_is_raised() -> None:
    behind = Behind()
    behind.do(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        behind.settle()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_waits_for_no_thread_of_the_first() -> None:
    behind, free = Behind(), threading.Event()
    behind.do(free.wait)
    child = os.fork()
    if not child:
        behind.settle()
        done = list[int]()
        behind.do(done.append, 1)
        behind.settle()
        os._exit(0 if done == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    free.set()
    behind.settle()


def test_what_is_given_to_another_process_has_nothing_to_do() -> None:
    behind, free = Behind(), threading.Event()
    behind.do(free.wait)
    # Would wait for ever if the call went along.
    pickle.loads(pickle.dumps(behind)).settle()
    free.set()
    behind.settle()
