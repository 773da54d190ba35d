"""One contract for both ways out: a body arrives, or an outcome says why not; nothing is ever raised."""

import errno
import fcntl
import json
import os
import ssl

import pytest

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetryd.delivery import open_sink
from flwr_telemetryd.delivery.file import FileSink
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from tests.support import processes, wire
from tests.support.faults import amid, descriptors, fail_once, no_locks, write_at_most

YES = Consent(enabled=True, decided_by="default", reason="")
BODIES = [
    b'{"event_type":"PING","event_details":{},"context":{}}',
    json.dumps({"a": "é\n\0"}).encode(),
    b"{}",
    b'{"a":"' + b"x" * 1_048_000 + b'"}',
]


class Way:
    """A sink, what has arrived at its end, and how its end is broken and mended."""

    def __init__(self, url, arrived, break_, mend):
        self.sink = open_sink(Settings(consent=YES, url=url))
        self.url, self.arrived, self.break_, self.mend = url, arrived, break_, mend

    def send(self, body):
        return self.sink.send(wire.key_of(body), body)


@pytest.fixture(params=["http", "file"])
def way(request, tmp_path):
    """Give each of the two ways out."""
    if request.param == "http":
        collector = request.getfixturevalue("collector")
        way = Way(
            collector.url,
            lambda: list(collector.accepted.values()),
            lambda: collector.answer_by(lambda _: 503),
            lambda: collector.answer_by(lambda _: 200),
        )
    else:
        path = tmp_path / "a place" / "out.jsonl"
        path.parent.mkdir()
        way = Way(
            path.as_uri(),
            lambda: path.read_bytes().splitlines() if path.exists() else [],
            lambda: path.parent.rename(tmp_path / "gone") and None,
            lambda: (tmp_path / "gone").rename(path.parent) and None,
        )
    yield way
    way.sink.close()


def test_every_body_arrives_as_it_is(way):
    """Byte for byte, once, in order, the largest too."""
    for body in BODIES:
        assert way.send(body) == Delivered()
    assert way.arrived() == BODIES


def test_what_is_broken_is_tried_again(way):
    """A Retry, and nothing of the body arrived; once it is mended the same sink delivers."""
    assert way.send(BODIES[0]) == Delivered()
    way.break_()
    outcome = way.send(BODIES[1])
    assert isinstance(outcome, Retry)
    assert outcome.reason
    way.mend()
    assert way.send(BODIES[2]) == Delivered()
    assert way.arrived() == [BODIES[0], BODIES[2]]


def test_a_closed_sink_leaves_nothing_open(way):
    """No descriptor stays of many bodies; closing twice is no error."""
    before = descriptors()
    for body in BODIES:
        way.send(body)
    way.sink.close()
    way.sink.close()
    # The collector, being of this process, holds its ends a moment longer; the file's sink holds none.
    if isinstance(way.sink, FileSink):
        assert descriptors() == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "disk"),
        OSError("no number"),
        ssl.SSLError("tls"),
        TimeoutError(),
    ],
    ids=repr,
)
def test_whatever_happens_below_is_a_retry(way, error, monkeypatch):
    """The system's word becomes an outcome, whichever call it comes from."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("socket.socket.connect", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr(os, "open", fail)
    assert isinstance(way.send(BODIES[0]), Retry)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_file_that_cannot_be_written(tmp_path, number, monkeypatch):
    """The system's word is told, no descriptor stays, and the next body is delivered."""
    path = tmp_path / "out.jsonl"
    sink, before = FileSink(path.as_uri()), descriptors()
    fail_once(monkeypatch, "write", number)
    outcome = sink.send("k", BODIES[0])
    assert isinstance(outcome, Retry)
    assert os.strerror(number) in outcome.reason
    assert descriptors() == before
    assert sink.send("k", BODIES[0]) == Delivered()
    assert path.read_bytes() == BODIES[0] + b"\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "no_directory"])
def test_a_file_that_is_none(tmp_path, kind):
    """Nothing is followed and nobody is waited for: a Retry that says why."""
    path = tmp_path / "out.jsonl"
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path = tmp_path / "none" / "out.jsonl"
    outcome = FileSink(path.as_uri()).send("k", b"{}")
    assert isinstance(outcome, Retry)
    assert str(path) in outcome.reason
    assert not (tmp_path / "target").exists()


def test_a_torn_line_costs_no_other(tmp_path, monkeypatch):
    """A body that is delivered after half a line was written is a line of its own."""
    path = tmp_path / "out.jsonl"
    sink = FileSink(path.as_uri())
    write_at_most(monkeypatch, 10, full_at_call=2)
    assert isinstance(sink.send("k", BODIES[0]), Retry)
    monkeypatch.undo()
    assert sink.send("k", BODIES[0]) == Delivered()
    assert BODIES[0] in path.read_bytes().splitlines()


def test_hosts_that_write_at_once_tear_no_line(tmp_path):
    """Each waits for the lock, even where an append lands where the end was last seen, as over NFS."""
    path = tmp_path / "out.jsonl"
    code = f"""
import os, sys, time
from flwr_telemetry import files
from flwr_telemetryd.delivery import file

def stale(descriptor, data):  # at the end as it was seen, a while ago, in two halves
    end = os.fstat(descriptor).st_size
    time.sleep(0.002)
    writer = os.open({str(path)!r}, os.O_WRONLY)
    os.pwrite(writer, data[:9], end)
    os.pwrite(writer, data[9:], end + 9)
    os.close(writer)

files.write_all = stale
sink = file.FileSink({path.as_uri()!r})
for number in range(25):
    body = b'{{"writer":"%s","number":%d}}' % (sys.argv[1].encode(), number)
    assert sink.send("k", body) == file.Delivered()
"""
    writers = [processes.start(tmp_path, ["-c", code, name]) for name in "abcd"]
    assert [writer.wait(processes.PATIENCE_S) for writer in writers] == [0] * 4
    told = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert sorted((line["writer"], line["number"]) for line in told) == [
        (name, number) for name in "abcd" for number in range(25)
    ]


def test_a_file_that_is_locked_for_long_is_tried_again(tmp_path, monkeypatch):
    """Whoever was stopped while it holds the lock holds up nobody but the delivery."""
    monkeypatch.setattr("flwr_telemetryd.outbox.archive.LOCK_WAIT_S", 0.05)
    path = tmp_path / "out.jsonl"
    sink = FileSink(path.as_uri())
    assert sink.send("k", BODIES[0]) == Delivered()
    with path.open("ab") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        outcome = sink.send("k", BODIES[1])
    assert isinstance(outcome, Retry)
    assert "locked" in outcome.reason
    assert sink.send("k", BODIES[1]) == Delivered()
    assert path.read_bytes().splitlines() == BODIES[:2]


def test_a_file_that_is_moved_away_meanwhile_gets_nothing_more(tmp_path, monkeypatch):
    """As in a rotation: whoever relays the old one has seen its end; the body goes into the new one."""
    path, old = tmp_path / "out.jsonl", tmp_path / "old.jsonl"
    sink = FileSink(path.as_uri())
    assert sink.send("k", BODIES[0]) == Delivered()
    amid(monkeypatch, lambda: path.rename(old), "lstat")
    assert sink.send("k", BODIES[1]) == Delivered()
    assert (old.read_bytes(), path.read_bytes()) == (BODIES[0] + b"\n", BODIES[1] + b"\n")


def test_where_locks_do_not_work_it_writes_all_the_same(tmp_path, monkeypatch):
    """One host alone needs none."""
    no_locks(monkeypatch)
    sink = FileSink((tmp_path / "out.jsonl").as_uri())
    assert sink.send("k", BODIES[0]) == Delivered()
