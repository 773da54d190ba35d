"""Dates where threads run at the same time: each is given once, and no thread waits for a stopped one."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flwr_telemetry import dates


@pytest.fixture
def parallel(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    return dates.dates_of("cluster")


def test_a_storm_of_threads_gets_no_date_twice(parallel):
    """On an interpreter with a lock of its own this shows only that the turn itself loses nothing."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: [parallel.next(1) for _ in range(500)], range(8)))
    assert len({date for mine in found for date in mine}) == 4000
    assert all(mine == sorted(mine) for mine in found)


def test_a_thread_that_stopped_in_its_turn_holds_up_no_other(parallel):
    """Nor a child that is forked meanwhile, which has no such thread."""
    taken, go_on = threading.Event(), threading.Event()
    holder = threading.Thread(target=lambda: (parallel._turn.acquire(), taken.set(), go_on.wait(30)))
    holder.start()
    taken.wait()
    try:
        began = time.process_time()
        assert parallel.next(1) < parallel.next(1)
        assert time.process_time() - began < 1
        parallel.before_fork()
        parallel.after_fork()
        assert parallel._turn.acquire(blocking=False)
    finally:
        go_on.set()
        holder.join()
