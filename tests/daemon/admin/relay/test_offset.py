"""Offset: how far a file was relayed, held by one, never half written."""

import errno
import json
import os
import threading

import pytest

from flwr_telemetryd.admin.relay import offset
from flwr_telemetryd.admin.relay.offset import Place
from flwr_telemetryd.errors import AnotherRelayError, NoOffsetError
from tests.support.faults import descriptors, fail_once, no_locks

PLACE = Place(7, 2, "c" * 64, 3)


@pytest.fixture
def file(tmp_path):
    """Give the path of a file that is relayed."""
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared" / "metrics.jsonl"


def test_what_is_saved_is_there_for_the_next(file):
    """Every part of it, and nothing else and no descriptor is left."""
    before = descriptors()
    with offset.held(file) as held:
        assert held.place is None
        held.save(Place())
        held.save(PLACE)
    with offset.held(file) as held:
        assert held.place == PLACE
    assert os.listdir(file.parent) == ["metrics.jsonl.relayed"]
    assert descriptors() == before


def test_one_holds_it_from_save_to_save(file):
    """The lock ends with the block."""
    with offset.held(file) as held:
        for place in (None, Place(1), Place(2)):
            if place:
                held.save(place)
            with pytest.raises(AnotherRelayError), offset.held(file):
                pass
    with offset.held(file):
        pass


def test_of_many_at_once_one_has_it(file):
    """While it is saved all the time, nobody slips in between two versions of it."""
    inside, most = [0], [0]
    done = threading.Event()

    def contend():
        while not done.is_set():
            try:
                with offset.held(file) as held:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    for number in range(20):
                        held.save(Place(number))
                    inside[0] -= 1
                    done.set()
            except AnotherRelayError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize(
    "text",
    [
        b"rubbish",
        b"[]",
        b"{}",
        b"[" * 60_000,
        b'{"offset": 1}',
        b'{"offset": -1, "line": 0, "check": ""}',
        b'{"offset": true, "line": 0, "check": ""}',
        b'{"offset": 1, "line": 0, "check": 7}',
        b'{"offset": 1, "line": 0, "check": "", "members": -1}',
    ],
)
def test_what_is_no_cursor_is_left_and_told(file, text):
    """It may be somebody's file of that name."""
    other = file.with_name("metrics.jsonl.relayed")
    other.write_bytes(text)
    with pytest.raises(NoOffsetError, match="move it away"), offset.held(file):
        pass
    assert other.read_bytes() == text


def test_that_of_a_former_version_is_read(file):
    """It may tell of bodies that were handed over, and be longer than any is now."""
    path = file.with_name("metrics.jsonl.relayed")
    archives = {"h" * 900: ["2026-11-22.jsonl", 4711]}
    handed = {"end": 9, "home": "/a/telemetry", "archives": archives}
    path.write_text(json.dumps({"offset": 7, "line": 2, "check": "c" * 64, "handed": handed}) + "\n")
    path.chmod(0o600)
    with offset.held(file) as held:
        assert held.place == Place(7, 2, "c" * 64)
        held.save(PLACE)
    with offset.held(file) as held:
        assert held.place == PLACE


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_save_that_fails_leaves_the_old_one_or_the_new_one(file, call, monkeypatch):
    """As on a full disk; the lock stays."""
    with offset.held(file) as held:
        held.save(PLACE)
        with monkeypatch.context() as patch:
            patch.setattr(offset, "SYNC_EVERY_S", 0)
            fail_once(patch, call, errno.ENOSPC)
            with pytest.raises(NoOffsetError, match="space"):
                held.save(Place(99))
        with pytest.raises(AnotherRelayError), offset.held(file):
            pass
    assert os.listdir(file.parent) == ["metrics.jsonl.relayed"]
    with offset.held(file) as held:
        assert held.place == (PLACE if call == "pwrite" else Place(99))


def test_the_check_tells_files_apart(file):
    """By what lies before the offset: of a short one all, of a long one both edges."""

    def check(data, size):
        file.write_bytes(data)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            return offset.check_of(descriptor, size)
        finally:
            os.close(descriptor)

    long = os.urandom(3 * offset.EDGE_BYTES)
    end = len(long) - 5
    assert check(long, end) == check(long + b"more", end)
    assert check(long, end) != check(b"x" + long[1:], end)
    assert check(long, end) != check(long[: end - 1] + b"x" + long[end:], end)
    assert check(b"abc", 2) == check(b"abd", 2) != check(b"xbd", 2)
    assert check(b"abc", 3) != check(b"ab", 3)
    assert check(b"abc", 0) == ""


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written_to_is_told_with_what_to_do(file, number, monkeypatch):
    """As of a file on a read-only disk, or of somebody else's directory."""
    fail_once(monkeypatch, "open", number)
    with pytest.raises(NoOffsetError, match="copy the file"), offset.held(file):
        pass


def test_where_locks_do_not_work_it_is_kept_all_the_same(file, monkeypatch):
    """Two relays may then be at it; the one that saves last is believed."""
    no_locks(monkeypatch)
    with offset.held(file) as one, offset.held(file) as other:
        one.save(Place(1))
        other.save(PLACE)
    with offset.held(file) as held:
        assert held.place == PLACE
