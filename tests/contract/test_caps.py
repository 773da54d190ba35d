"""Section 6, the caps: what they drop, in which order, and that a drop is counted."""

from tests.support import homes, processes, records, wire
from tests.support.commands import answer_of
from tests.support.processes import NEVER


def _dropped(home):
    path = homes.host(home) / "dropped"
    return path.stat().st_size if path.exists() else 0


def test_a_full_spool_drops_the_new_event_and_counts_it(home):
    """A writer whose segment is at the cap drops the event, tells the future, and counts in `dropped`."""
    homes.configure(home, "http://127.0.0.1:9/", spool_max_mib=0.01)
    told = processes.emit(home, 100, {"text": "x" * 300}, NEVER)
    spooled = homes.spooled(home)
    kept = told.count("spooled")
    assert 0 < kept < 100
    assert told == ["spooled"] * kept + told[kept:]
    assert all(line.startswith("flwr_telemetry.") for line in told[kept:])
    assert len(spooled) == kept
    assert _dropped(home) == 100 - kept
    assert answer_of(home, "status")["totals"]["counters"]["dropped"] == 100 - kept
    largest = max(len(records.encode(event)) for event in spooled)
    assert homes.open_segment(home).stat().st_size <= 0.01 * 2**20 + largest


def test_what_waits_too_long_is_dropped_and_counted(home, collector):
    """In an outage what is beyond `spool_max_days` goes, from the outbox and from the spool, and no more."""
    collector.answer_by(lambda _request: 503)
    homes.put(home, records.series(3))
    processes.once(home)
    (body,) = homes.waiting(home)
    for path in (body, body.parent):
        homes.age(path, 20 * 86400)
    segment = homes.put(home, records.series(2, start=10), name="sealed-1500000000000000000-0a1b2c3d.msgpack")
    homes.age(segment, 20 * 86400)
    homes.put(home, records.series(2, start=20))
    young = homes.put(home, records.series(2, start=30), name="sealed-1500000000000000001-0a1b2c3d.msgpack")
    homes.age(young, 10 * 86400)
    processes.once(home)
    assert _dropped(home) == 5
    collector.answer_by(lambda _request: 200)
    processes.deliver(home, times=5)
    assert wire.serials(collector.events()) == [20, 21, 30, 31]


def test_the_oldest_goes_first_when_too_much_waits(home, collector):
    homes.configure(home, collector.url, spool_max_mib=0.1, bursts=False)
    collector.answer_by(lambda _request: 503)
    for number in range(10):
        events = [
            records.sample({"n": 10 * number + n, "text": "x" * 2000}, date_us=1000 * number + n)
            for n in range(10)
        ]
        homes.put(home, events, name=f"sealed-17950000000000000{number:02}-0a1b2c3d.msgpack")
        processes.once(home)
    processes.once(home)
    size = sum(path.stat().st_size for path in homes.unsent_files(home))
    assert size <= 0.1 * 2**20
    collector.answer_by(lambda _request: 200)
    processes.deliver(home, times=5)
    numbers = wire.serials(collector.events())
    assert 0 < len(numbers) < 100
    assert numbers == list(range(100 - len(numbers), 100))
    assert _dropped(home) == 100 - len(numbers)


def test_the_archive_has_a_cap(home, collector):
    homes.configure(home, collector.url, sent_max_days=5)
    processes.spool_events(home)
    processes.deliver(home)
    old = homes.host(home) / "sent" / "2020-01-01.jsonl"
    old.write_bytes(b"{}\n")
    old.chmod(0o600)
    homes.age(old, 6 * 86400)
    processes.spool_events(home, start_at=1)
    processes.deliver(home)
    assert not old.exists()
    assert len(homes.sent(home)) == 2
