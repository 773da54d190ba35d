"""Flush ends when everything that waited is delivered, by any process, and leaves no process behind."""

import os
import threading

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


def _flush(home, timeout_s=processes.PATIENCE_S, **options):
    return flush.flush(Home(home), processes.environment(home), timeout_s=timeout_s, **options)


def test_events_that_come_later_are_not_waited_for(home, collector):
    """A workload that goes on reporting must not hold a flush for ever."""
    homes.put(home, records.series(1))
    late = processes.spool_events

    def more(left):
        if left.events == 0 and not homes.spooled(home):
            late(home, 1, start_at=7)

    assert _flush(home, on_progress=more).outcome is flush.Outcome.DELIVERED


def test_it_tries_again_until_the_collector_is_back(home, collector):
    homes.put(home, records.series(3))
    collector.answer_with(503, 503)
    result = _flush(home)
    assert result.outcome is flush.Outcome.DELIVERED
    assert len(collector.requests) == 3


def test_a_retry_after_is_not_waited_for_in_vain(home, collector):
    homes.put(home, records.series(1))
    collector.answer_by(lambda _request: Answer(429, {"Retry-After": "7200"}))
    result = _flush(home, timeout_s=3600)
    assert result.outcome is flush.Outcome.UNDELIVERED
    assert "asked for no requests" in result.reason
    assert len(collector.requests) == 1


def test_a_collector_that_never_answers_is_left_in_time(home, collector):
    homes.put(home, records.series(1))
    collector.answer_by(lambda _request: "hang")
    result = processes.in_time(
        lambda limit_s: _flush(home, timeout_s=limit_s), first_s=2, enough=lambda _: bool(collector.requests)
    )
    assert result.outcome is flush.Outcome.UNDELIVERED
    assert (result.left.events, result.left.bodies) == (1, 1)
    assert processes.processes_of(home) == {}


def test_a_sidecar_that_is_killed_is_no_reason_to_give_up(home, collector):
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 2)
    pid = processes.running_sidecar(home)
    collector.answer_with("hang")
    killer = threading.Thread(
        target=lambda: (processes.wait_until(lambda: collector.requests), processes.kill(pid))
    )
    killer.start()
    result = _flush(home)
    killer.join()
    assert result.outcome is flush.Outcome.DELIVERED


def test_switching_off_meanwhile_ends_it(home, collector):
    homes.put(home, records.series(1))

    def refuse(_request):
        homes.configure(home, collector.url, enabled=False)
        return 503

    collector.answer_by(refuse)
    result = _flush(home)
    assert result.outcome is flush.Outcome.DISABLED
    assert str(homes.config_file(home)) in result.reason


def test_a_home_that_a_sidecar_cannot_use_is_told(home, collector):
    homes.put(home, records.series(1))
    os.mkfifo(homes.host(home) / "sidecar.log")
    with pytest.raises(UnusableHomeError, match=r"sidecar\.log"):
        _flush(home)
