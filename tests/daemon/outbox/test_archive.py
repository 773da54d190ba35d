"""Archive: lines are read one at a time, as far as they are written, and appended whole."""

import fcntl
import json
import tempfile
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.outbox import archive
from tests.support import processes, strategies
from tests.support.faults import amid, fail_once, write_at_most
from tests.support.strategies import tried


@tried(200)
@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8), st.data())
def test_from_any_line_to_any_byte_they_are_those_of_the_file(some, data):
    whole = b"".join(line + b"\n" for line in some)
    first = data.draw(st.integers(0, len(some)))
    start = sum(len(line) + 1 for line in some[:first])
    end = data.draw(st.integers(start, len(whole)))
    with tempfile.TemporaryFile() as file:
        file.write(whole)
        file.flush()
        found = list(archive.lines(file, start, end))
    count = whole[start:end].count(b"\n")
    assert [line.data for line in found] == some[first : first + count]
    ends = [start + sum(len(line) + 1 for line in some[first : first + n + 1]) for n in range(count)]
    assert [line.end for line in found] == ends


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_a_line_that_is_too_long_is_told_without_being_held(tmp_path, size, monkeypatch):
    monkeypatch.setattr(archive, "MAX_LINE_BYTES", 10)
    path = tmp_path / "file"
    path.write_bytes(b"x" * (18 + size) + b"\nshort\n" + b"y" * 30)
    with path.open("rb") as file:
        assert list(archive.lines(file)) == [(None, 19 + size), (b"short", 25 + size)]


def test_the_length_of_a_file_is_read_under_its_lock(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"half a ")
    with path.open("ab", buffering=0) as writer, path.open("rb") as file:
        fcntl.flock(writer, fcntl.LOCK_EX)
        found = []
        reader = threading.Thread(target=lambda: found.append(archive.written_bytes(file)))
        reader.start()
        writer.write(b"line\n")
        fcntl.flock(writer, fcntl.LOCK_UN)
        reader.join(processes.PATIENCE_S)
        assert found == [12]


def test_a_lock_that_stays_busy_stops_neither_a_reader_nor_a_record_of_one_host(tmp_path, monkeypatch):
    """A process may be stopped amid a line. Across hosts nothing but the lock keeps lines apart."""
    monkeypatch.setattr(archive, "LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(archive, "SEAL_WAIT_S", 0.05)
    path = tmp_path / "file"
    with path.open("ab") as stopped, path.open("rb") as file:
        path.chmod(0o600)
        fcntl.flock(stopped, fcntl.LOCK_EX)
        archive.append_line(path, b"one")
        with pytest.raises(BlockingIOError, match="locked"):
            archive.append_line(path, b"two", across_hosts=True)
        assert archive.written_bytes(file) == 4
    assert path.read_bytes() == b"one\n"


def test_a_torn_line_stays_a_line_of_its_own(tmp_path, monkeypatch):
    """A full disk or a death may tear it."""
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        write_at_most(patch, 3, full_at_call=2)
        with pytest.raises(OSError, match="space"):
            archive.append_line(path, b"first")
    archive.append_line(path, b"second")
    assert path.read_bytes() == b"fir\nsecond\n"


@pytest.mark.parametrize("across_hosts", [False, True])
def test_a_file_that_is_replaced_meanwhile_gets_nothing_more(tmp_path, monkeypatch, across_hosts):
    path, old = tmp_path / "file", tmp_path / "old"
    path.write_bytes(b"")
    path.chmod(0o600)
    amid(monkeypatch, lambda: path.rename(old), "lstat")
    archive.append_line(path, b"line", across_hosts=across_hosts)
    assert (old.read_bytes(), path.read_bytes()) == (b"", b"line\n")


NOW = datetime(2026, 11, 22, tzinfo=UTC)
SHOWN = {"https://user:word@x.org:8443/a?key=secret#part": "https://x.org:8443/a"}
SHOWN |= {"file:///a/b.jsonl?x": "file:///a/b.jsonl", archive.NOWHERE: "nowhere"}


@pytest.mark.parametrize("url", SHOWN)
def test_a_receipt_tells_when_and_where_without_secrets(host, url):
    archive.archive(host, b"{}", archive.receipt("0" * 64, NOW, 202, url))
    (day,) = archive.archive_files(host)
    found = archive.Receipts(day).of(b"{}")
    assert found == ("0" * 64, "2026-11-22T00:00:00+00:00", 202, SHOWN[url])
    assert archive.Receipts(day).of(b"{ }") is None


def test_a_receipt_that_cannot_be_written_costs_no_body(host, monkeypatch, caplog):
    """An archived body must not come twice. The receipt is looked for again until it is there."""
    fail_once(monkeypatch, "append_line", 28, after=1, module=archive)
    archive.archive(host, b"{}", archive.receipt("0" * 64, NOW, 200, "https://x/"))
    monkeypatch.undo()
    (day,) = archive.archive_files(host)
    receipts = archive.Receipts(day)
    assert (day.read_bytes(), receipts.of(b"{}")) == (b"{}\n", None)
    assert "without a receipt" in caplog.text
    archive.archive(host, b"{}", archive.receipt("0" * 64, NOW, 200, "https://x/"))
    assert receipts.of(b"{}").status == 200


@tried(200)
@given(st.one_of(st.binary(), strategies.json_values().map(lambda value: json.dumps(value).encode())))
def test_a_damaged_receipt_is_none(line):
    assert archive.parsed(line) is None
