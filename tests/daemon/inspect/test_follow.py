"""The follower gives everything once at each stage, whatever moves meanwhile."""

import json
import time

from flwr_telemetry.hardware import hardware_facts
from flwr_telemetry.layout import Home
from flwr_telemetry.record import to_wire
from flwr_telemetryd.inspect.follow import Follower
from flwr_telemetryd.outbox import archive
from flwr_telemetryd.outbox.body import key_of
from flwr_telemetryd.spool import segments
from flwr_telemetryd.state import State
from tests.daemon.conftest import make, take
from tests.support import homes, records
from tests.support.bodies import coalesce


def _new(follower):
    return [(item.stage, json.loads(item.raw)["event_details"]["n"]) for item in follower.new_items()]


def _append(home, data):
    with homes.open_segment(home).open("ab") as file:
        file.write(data)


def test_a_segment_gives_what_is_new_whatever_it_is_called(home):
    follower = Follower(Home(home))
    assert _new(follower) == []
    homes.put(home, records.series(1))
    assert _new(follower) == [("spool", 0)]
    homes.put(home, records.series(2))
    follower = Follower(Home(home))
    assert (_new(follower), _new(follower)) == ([("spool", 0), ("spool", 1)], [])
    _append(home, records.encode(records.sample({"n": 2})))
    assert _new(follower) == [("spool", 2)]
    host = Home(home).host()
    segments.seal(host, 1)
    assert _new(follower) == []
    take(host)
    assert _new(follower) == []


def test_a_record_that_is_being_written_is_shown_when_it_is_whole(home):
    """File systems give a new file the inode of a deleted one; its first record tells it apart."""
    whole = records.encode(records.sample({"n": 1}))
    homes.put_bytes(home, records.encode(records.sample({"n": 0})) + whole[:50])
    follower = Follower(Home(home))
    assert _new(follower) == [("spool", 0)]
    _append(home, whole[50:])
    assert _new(follower) == [("spool", 1)]
    # The same inode for certain: the same file, with another content.
    homes.put(home, records.series(2, start=7), name="others")
    homes.open_segment(home).write_bytes((homes.spool(home) / "others").read_bytes())
    assert _new(follower) == [("spool", 7), ("spool", 8)]


def test_a_body_is_shown_once_and_its_segments_no_more(home):
    homes.put(home, records.series(1), name=segments.sealed_name(1))
    follower, host = Follower(Home(home)), Home(home).host()
    make(host, take(host))
    assert (_new(follower), _new(follower)) == ([("outbox", 0)], [])


def test_a_line_of_the_archive_is_shown_when_it_is_whole(home):
    homes.put(home, [])
    archive = homes.host(home) / "sent" / "2026-11-22.jsonl"
    archive.parent.mkdir()
    line = json.dumps(records.sample({"n": 0}))
    archive.write_text(f"{line}\n{line[:40]}")
    follower = Follower(Home(home), "sent")
    assert _new(follower) == [("sent", 0)]
    with archive.open("a") as file:
        file.write(f"{line[40:]}\n")
    assert _new(follower) == [("sent", 0)]
    assert not follower.problems


def test_what_is_no_body_is_a_problem_and_not_shown(home):
    homes.put(home, [])
    rejected = homes.host(home) / "rejected"
    rejected.mkdir()
    (rejected / "ab.json").write_bytes(b"[1, 2]")
    (rejected / "cd.json").write_text(json.dumps(records.sample({"n": 3})))
    follower = Follower(Home(home))
    assert _new(follower) == [("rejected", 3)]
    assert [str(rejected / "ab.json") in problem for problem in follower.problems] == [True]


def test_events_of_the_spool_are_shown_as_they_are_sent(home):
    """With the hardware facts of this host, or those that another host's sidecar has told; adopted: none."""
    ours = Home(home).host()

    def memory():
        return [
            json.loads(item.raw)["context"]["hw"].get("memory_gib")
            for item in Follower(Home(home)).new_items()
        ]

    homes.put(home, records.series(1))
    (own,) = memory()
    assert own == hardware_facts()["memory_gib"]
    other = home / "telemetry" / "another" / "spool"
    other.mkdir(parents=True)
    segments.seal(ours, 1)
    (sealed,) = segments.sealed_segments(ours)
    sealed.rename(other / sealed.name)
    assert memory() == [None]
    state = State(hardware={"memory_gib": 7, "cpu_count_physical": "\x1b"})
    state.save(Home(home).host("another"))
    assert memory() == [7]
    take(ours, adopted=[Home(home).host("another")])
    assert memory() == [None]


def test_a_receipt_may_come_a_moment_after_its_body(home, host, monkeypatch):
    host.sent.mkdir(mode=0o700)
    body = next(coalesce([to_wire(records.sample())]))
    (host.sent / "2026-11-22.jsonl").write_bytes(body + b"\n")
    (host.sent / "2026-11-22.jsonl").chmod(0o600)
    receipt = archive.Receipt(key_of(body), "2026-11-22T10:00:00+00:00", 200, "https://x/")

    def write_it(_seconds):
        path = host.sent / "2026-11-22.receipts.jsonl"
        path.write_text(json.dumps(receipt._asdict()) + "\n")
        path.chmod(0o600)

    monkeypatch.setattr(time, "sleep", write_it)
    (item,) = Follower(Home(home), "sent").new_items()
    assert item.receipt == receipt
