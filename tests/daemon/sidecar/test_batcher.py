"""The batcher: when it seals, and the limit of unfinished batches."""

import errno

import pytest

from flwr_telemetryd.clock import Clock
from flwr_telemetryd.outbox import batch
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.batcher import MAX_UNFINISHED, Batcher
from flwr_telemetryd.spool.directory import entry_names
from tests.daemon.conftest import a_runtime, sealed
from tests.support import homes, records


@pytest.fixture
def time(home):
    homes.put(home, records.series(1))
    return [100.0]


@pytest.fixture
def batcher(home, time):
    return Batcher(a_runtime(home, Mode.SERVICE, Clock(monotonic=lambda: time[0])))


def test_the_burst_window_begins_when_an_event_is_first_seen(home, batcher, time):
    window_s = batcher._runtime.limits.burst_window_s
    assert batcher.window_s() == 0
    batcher.run(may_batch=True, immediately=False)
    time[0] += window_s - 1
    batcher.run(may_batch=True, immediately=False)
    assert (batcher.window_s(), batcher.sealed) == (1, 0)
    time[0] += 1
    batcher.run(may_batch=True, immediately=False)
    assert (batcher.window_s(), batcher.sealed, batcher.made) == (0, 1, 1)
    homes.put(home, records.series(1))
    batcher.run(may_batch=True, immediately=False)
    assert (batcher.window_s(), batcher.sealed) == (window_s, 1)


def test_a_request_for_delivery_does_not_wait_for_the_window(batcher):
    batcher.run(may_batch=True, immediately=True)
    assert (batcher.sealed, batcher.made) == (1, 1)


def test_unfinished_batches_do_not_pile_up(home, host, batcher, time, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batch, "write", full)
    for number in range(2 * MAX_UNFINISHED):
        sealed(home, number % 10, at_ns=number + 1)
        time[0] += 1e6
        batcher.run(may_batch=True, immediately=True)
    assert len(entry_names(host.work)) == MAX_UNFINISHED
    assert batcher.made == 0
