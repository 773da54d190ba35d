"""Flush ends when everything that waited is delivered, by any process, and leaves no process behind."""

import functools
import os

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.admin import flush
from flwr_telemetryd.errors import UnusableHomeError
from tests.support import homes, processes, records
from tests.support.collector import Answer


@pytest.fixture
def collector(home, collector):
    """Give a collector whose address is in the settings of the home."""
    homes.configure(home, collector.url)
    return collector


def _flush(home, outcome=flush.Outcome.DELIVERED, timeout_s=processes.PATIENCE_S, **options):
    result = flush.flush(Home(home), processes.environment(home), timeout_s=timeout_s, **options)
    assert result.outcome is outcome
    return result


def test_events_that_come_later_are_not_waited_for(home, collector):
    """A workload that goes on reporting must not hold a flush for ever."""
    homes.put(home, records.series(1))

    def more(left):
        if left.events == 0 and not homes.spooled(home):
            processes.spool_events(home, 1, start_at=7)

    _flush(home, on_progress=more)


def test_it_tries_again_until_the_collector_is_back(home, collector):
    homes.put(home, records.series(3))
    collector.answer_with(503, 503)
    _flush(home)
    assert len(collector.requests) == 3


def test_a_retry_after_is_not_waited_for_in_vain(home, collector):
    homes.put(home, records.series(1))
    collector.answer_by(lambda _request: Answer(429, {"Retry-After": "7200"}))
    assert "asked for no requests" in _flush(home, flush.Outcome.UNDELIVERED, 3600).reason
    assert len(collector.requests) == 1


def test_a_collector_that_never_answers_is_left_in_time(home, collector):
    homes.put(home, records.series(1))
    collector.answer_by(lambda _request: "hang")
    undelivered = functools.partial(_flush, home, flush.Outcome.UNDELIVERED)
    result = processes.in_time(undelivered, first_s=2, enough=lambda _: bool(collector.requests))
    assert (result.left.events, result.left.bodies) == (1, 1)
    assert processes.processes_of(home) == {}


def test_a_sidecar_that_is_killed_is_no_reason_to_give_up(home, collector):
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 2)
    pid = processes.running_sidecar(home)

    def kill(_request):
        processes.kill(pid)
        collector.answer_by(lambda _request: 200)
        return "close"

    collector.answer_by(kill)
    _flush(home)


def test_switching_off_meanwhile_ends_it(home, collector):
    homes.put(home, records.series(1))

    def refuse(_request):
        homes.configure(home, collector.url, enabled=False)
        return 503

    collector.answer_by(refuse)
    assert str(homes.config_file(home)) in _flush(home, flush.Outcome.DISABLED).reason


def test_a_home_that_a_sidecar_cannot_use_is_told(home, collector):
    homes.put(home, records.series(1))
    os.mkfifo(homes.host(home) / "sidecar.log")
    with pytest.raises(UnusableHomeError, match=r"sidecar\.log"):
        _flush(home)
