"""The read-only view: what it counts, in a home that is missing, whole or damaged."""

import time

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.pending import TAKEN_SUFFIX
from flwr_telemetryd.admin.service.status import service_status
from flwr_telemetryd.burst import codec
from flwr_telemetryd.inspect import status
from flwr_telemetryd.inspect.status import Bodies
from flwr_telemetryd.outbox import batch
from flwr_telemetryd.outbox.discard import discard
from flwr_telemetryd.outbox.split import member_key
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import OURS, take
from tests.support import homes, records


def _read(home):
    return status.read_status(Home(home), {})


def test_events_are_counted_once_wherever_they_are(home, host):
    """In segments of every directory, in a committed batch alone, and in a burst that is being split."""
    homes.put(home, records.series(2), name=segments.sealed_name(1))
    batch.write(taken := take(host), bursts=True, hardware={})  # marks its segments, and is not committed
    homes.put(home, records.series(3), name=segments.sealed_name(2))
    homes.put(home, records.series(4))
    (view,) = _read(home).hosts
    assert (view.spool.events, view.outbox) == (9, Bodies())
    committed = batch.commit(taken)
    assert any(path.name.endswith(TAKEN_SUFFIX) for path in committed.iterdir())
    (view,) = _read(home).hosts
    assert (view.spool.events, view.outbox.bodies, view.outbox.events) == (7, 1, 2)
    assert view.outbox.bytes == sum(path.stat().st_size for path in homes.waiting(home))
    discard(host, committed, OURS, 3)
    (body,) = committed.iterdir()
    split = body.rename(body.with_suffix(".split"))
    first = codec.expand(split.read_bytes())[0]
    split.with_name(f"{member_key(split.stem, 0)}.json").write_text(codec.dumps(first))
    (view,) = _read(home).hosts
    assert (view.outbox.bodies, view.outbox.events) == (1, 2)


@pytest.mark.parametrize("ahead_s", [-7200, -120, 0, 120, 7200])
def test_the_age_of_a_service_on_a_host_whose_clock_is_wrong(home, monkeypatch, ahead_s):
    homes.put(home, records.series(1))
    for host, age_s in {"login1": 5, "login2": 100}.items():
        Home(home).heartbeat(host).write_text("{}")
        homes.age(Home(home).heartbeat(host), age_s)
    (homes.host(home) / "not-before").write_text("60\n")
    before = homes.tree(home)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s)
    view = _read(home)
    assert 0 < view.hosts[0].retry_after_s <= 60
    first, second = view.services
    assert [(each.host, each.fresh) for each in (first, second)] == [("login1", True), ("login2", False)]
    assert 5 <= first.age_s < 60
    assert service_status(Home(home), {}).heartbeats == {
        each.host: pytest.approx(each.age_s, abs=30) for each in (first, second)
    }
    assert homes.tree(home) == before


def test_damage_stops_nothing(home):
    homes.put_bytes(home, b"rubbish" + records.encode(records.sample()) + b"\x92\xce")
    host = homes.host(home)
    for path, data in {
        "sidecar.json": b"{",
        "outbox/1/ab.json": b"[",
        "outbox/1/cd.json": b'{"burst": {"count": "many"}}',
        "outbox/1/ef.split": b"\xff",
        "sent/2026-11-22.jsonl": b"{\n\n" + b"x" * 3_000_000 + b'\n{"event_type": "PING"}\n',
        "rejected/ab.json": b"",
        "rejected/ab.reason.txt": b"no",
        "not-before": b"soon",
    }.items():
        (host / path).parent.mkdir(parents=True, exist_ok=True)
        (host / path).write_bytes(data)
    view = _read(home)
    assert (view.problems, view.hosts[0].spool.events) == ([], 1)
    assert (view.hosts[0].outbox.bodies, view.hosts[0].outbox.events) == (3, 0)
    assert (view.hosts[0].sent.bodies, view.hosts[0].sent.events) == (3, 1)
    assert (view.hosts[0].rejected.bodies, view.hosts[0].rejected.events) == (1, 0)
