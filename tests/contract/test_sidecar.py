"""Section 2, "Seal", "Commit" and "Wake", and section 3's flush(): one run of a sidecar."""

import pytest

from tests.support import homes, processes, records, wire
from tests.support.collector import Answer
from tests.support.processes import NEVER, wait_until

_LONG = 600


def test_the_sidecar_tells_who_it_is_and_is_alone(home, collector):
    """sidecar.json names the one living sidecar of this home, however many workloads come and go."""
    homes.configure(home, collector.url, idle_exit_s=_LONG)
    for number in range(4):
        processes.emit(home, start_at=number)
    pid = processes.running_sidecar(home)
    wait_until(lambda: len(collector.events()) == 4)
    wait_until(lambda: processes.sidecars(home) == [pid], what="the end of starters that came too late")
    assert processes.running_sidecar(home) == pid


def test_an_idle_sidecar_ends_and_the_next_event_starts_another(home, collector):
    """After `idle_exit_s` with nothing left the sidecar is gone; events later are delivered all the same."""
    homes.configure(home, collector.url, idle_exit_s=0.2)
    for number in range(2):
        processes.emit(home, start_at=number)
        processes.wait_for_count(collector.events, number + 1)
        processes.wait_for_end(home)
    assert wire.serials(collector.events()) == [0, 1]
    assert homes.unsent_files(home) == []


def test_no_event_is_stranded_by_a_sidecar_that_ends(home, collector):
    homes.configure(home, collector.url, idle_exit_s=0, burst_window_s=0)
    for number in range(15):
        processes.emit(home, start_at=number)
    wait_until(lambda: wire.serials(collector.events()) == list(range(15)))


def test_no_second_start_within_the_respawn_time(home, collector):
    homes.configure(home, collector.url, idle_exit_s=_LONG, respawn_s=_LONG)
    processes.emit(home)
    processes.kill(processes.running_sidecar(home))
    assert processes.emit(home, start_at=1) == ["spooled"]
    assert processes.processes_of(home) == {}
    homes.configure(home, collector.url, respawn_s=0)
    processes.emit(home, start_at=2)
    wait_until(lambda: wire.serials(collector.events()) == [0, 1, 2])


def test_a_burst_waits_for_its_window(home, collector):
    """Or for a flush of a process that may start no sidecar itself."""
    homes.configure(home, collector.url, burst_window_s=_LONG)
    for number in range(4):
        processes.emit(home, start_at=number)
    processes.running_sidecar(home)
    assert collector.requests == []
    assert processes.flush(home, 50, NEVER)
    assert len(collector.requests) == 1
    assert wire.serials(collector.events()) == [0, 1, 2, 3]


def test_a_large_segment_is_sealed_before_its_window_is_over(home, collector):
    homes.configure(home, collector.url, burst_window_s=_LONG)
    homes.put(home, [records.sample({"n": n, "text": "x" * 7500}, date_us=1000 + n) for n in range(600)])
    processes.emit(home, start_at=600)
    wait_until(lambda: len(collector.events()) >= 600)


@pytest.mark.parametrize("status", [200, 400])
def test_flush_is_true_when_nothing_waits_any_more(home, collector, status):
    """flush() starts a sidecar where none runs, and waits until all is delivered or rejected.

    It asks for another each second. Three that still load would be three in vain, so there is a time between.
    """
    homes.configure(home, collector.url, burst_window_s=_LONG, respawn_s=10)
    collector.answer_by(lambda _request: status)
    processes.spool_events(home, 3)
    assert processes.flush(home, 50)
    assert wire.serials([*collector.events(), *homes.rejected_events(home)]) == [0, 1, 2]
    assert homes.unsent_files(home) == []


def test_flush_gives_up_at_its_timeout(home, collector):
    collector.answer_by(lambda _request: "hang")
    processes.spool_events(home)
    assert not processes.flush(home, 1.0)
    assert homes.unsent_files(home)


def test_flush_is_false_where_nothing_can_serve_it(home, collector):
    processes.spool_events(home)
    assert not processes.flush(home, 10_000, NEVER)
    assert processes.processes_of(home) == {}
    assert len(homes.spooled(home)) == 1


def test_flush_skips_a_backoff(home, collector):
    homes.configure(home, collector.url, backoff_s=100_000, backoff_max_s=100_000, idle_exit_s=_LONG)
    collector.answer_with(503)
    processes.emit(home)
    wait_until(lambda: len(collector.requests) == 1)
    assert processes.flush(home, 50)
    assert wire.serials(collector.events()) == [0]


def test_flush_never_skips_a_retry_after(home, collector):
    homes.configure(home, collector.url, idle_exit_s=_LONG)
    collector.answer_with(Answer(429, {"Retry-After": "3600"}))
    processes.emit(home)
    wait_until(lambda: len(collector.requests) == 1)
    wait_until((homes.host(home) / "not-before").exists)
    assert not processes.flush(home, 1.0)
    assert len(collector.requests) == 1


def test_while_deliveries_fail_no_new_batch_is_taken(home, collector):
    """An outage ends in few uploads: what comes meanwhile stays in the spool, then goes as one."""
    homes.configure(home, collector.url, idle_exit_s=_LONG)
    collector.answer_by(lambda _request: 503)
    processes.emit(home)
    wait_until(lambda: len(collector.requests) >= 2)
    for number in range(1, 6):
        processes.emit(home, start_at=number)
        processes.wait_for_count(lambda: collector.requests, len(collector.requests) + 1)
    assert len({request.key for request in collector.requests}) == 1
    assert len(homes.waiting(home)) == 1
    collector.answer_by(lambda _request: 200)
    wait_until(lambda: wire.serials(collector.events()) == list(range(6)))
    assert len(collector.accepted) == 2


def test_a_sidecar_that_cannot_deliver_ends_and_keeps_everything(home, collector):
    """After `offline_exit_s` it ends; the next event starts another, which delivers all."""
    homes.configure(home, collector.url, offline_exit_s=0.5)
    collector.answer_by(lambda _request: 503)
    processes.emit(home)
    wait_until(lambda: collector.requests)
    processes.wait_for_end(home)
    assert len(wire.expand_all(path.read_bytes() for path in homes.waiting(home))) == 1
    collector.answer_by(lambda _request: 200)
    processes.emit(home, start_at=1)
    wait_until(lambda: wire.serials(collector.events()) == [0, 1])


def test_once_ends_with_zero_when_all_is_delivered(home, collector):
    """`--once` drains everything, if there is anything, without waiting for a window."""
    homes.configure(home, collector.url, burst_window_s=_LONG, idle_exit_s=_LONG)
    for count in (0, 3):
        processes.spool_events(home, count)
        assert processes.once(home).returncode == 0
        assert wire.serials(collector.events()) == list(range(count))
    assert processes.sidecars(home) == []


def test_many_at_once_send_each_event_once(home, collector):
    """Six `--once` at the same time share the work: every event arrives, and no body is sent twice."""
    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(30))
    crowd = [processes.start_once(home) for _ in range(6)]
    for member in crowd:
        member.wait(processes.PATIENCE_S)
    processes.deliver(home)
    assert wire.serials(collector.events()) == list(range(30))
    assert len(collector.requests) == 30
    assert len(homes.sent(home)) == 30
