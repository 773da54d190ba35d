"""The backlog: whether anything waits on a host, and how much."""

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import backlog
from flwr_telemetryd.outbox.backlog import Backlog, Counter
from tests.daemon.conftest import burst_of, put_body
from tests.support import homes, records
from tests.support.faults import amid


@pytest.mark.parametrize(
    ("place", "waits"),
    [
        ("spool/events.msgpack", "anything"),
        ("spool/sealed-0000000000000000001-00000000.msgpack", "more"),
        ("spool/flush", ""),
        ("work/b.0/x", "more"),
        ("outbox/b/k.json", "bodies"),
        ("outbox/b/k.split", "bodies"),
        ("outbox/b/sealed-1-2.msgpack.0.taken", "more"),
        ("outbox/b/sealed-1-2.msgpack.1.taken", ""),
        ("outbox/b/stray", ""),
        ("sent/2026-11-22.jsonl", ""),
    ],
)
def test_what_waits(host, place, waits):
    path = host.root / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert backlog.anything_waits(host) is (waits != "")
    assert backlog.is_waiting(host) is (waits != "")
    assert backlog.more_waits(host) is (waits in {"more", "bodies"})
    assert backlog.bodies_wait(host) is (waits == "bodies")


def test_an_empty_segment_and_an_unsafe_host_do_not_wait(home, host):
    """No sidecar of another host can deliver the latter."""
    homes.put_bytes(home, b"")
    assert not backlog.anything_waits(host)
    homes.put(home, records.series(1))
    host.spool.chmod(0o777)
    assert backlog.anything_waits(host)
    assert not backlog.is_waiting(host)


def test_a_count_reads_a_file_again_only_if_it_has_grown(home, host, monkeypatch):
    node = Home(home).host("node")
    segment = homes.put(home, records.series(2))
    homes.put(home, records.series(3), host_of="node")
    put_body(host, burst_of(records.series(4)))
    put_body(host, b"{")
    counter = Counter([host, node])
    assert counter.left() == Backlog(events=2 + 3 + 4, bodies=2)
    with segment.open("ab") as file:
        file.write(records.encode(records.sample()))
    reads = []
    amid(monkeypatch, lambda: reads.append(1), "open")
    amid(monkeypatch, lambda: reads.append(2), "open", after=1)
    assert counter.left() == Backlog(events=3 + 3 + 4, bodies=2)
    assert reads == [1]


def test_a_count_ends_when_its_caller_says_so(home, host, monkeypatch):
    """A file that vanishes meanwhile counts nothing."""
    path = homes.put(home, records.series(1))
    assert Counter([host]).left(lambda: True) == Backlog(0, 0)
    amid(monkeypatch, path.unlink, "open")
    assert Counter([host]).left() == Backlog(0, 0)
