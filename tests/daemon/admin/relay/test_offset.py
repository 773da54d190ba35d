"""The offset of a file: locked by one relay, never half written, and of this very file."""

import contextlib
import errno
import os

import pytest

from flwr_telemetryd.admin.relay import offset
from flwr_telemetryd.admin.relay.offset import Place
from flwr_telemetryd.errors import AnotherRelayError, NoOffsetError
from tests.support.faults import descriptors, fail_once, no_locks

PLACE = Place(7, 2, 3)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "shared").mkdir()
    path = tmp_path / "shared" / "metrics.jsonl"
    path.write_bytes(os.urandom(100))
    return path


@contextlib.contextmanager
def holding(file):
    with file.open("rb") as opened, offset.held(file, opened.fileno()) as held:
        yield held


def test_what_is_saved_is_there_for_the_next(file):
    before = descriptors()
    with holding(file) as held:
        assert (held.place, held.from_start) == (Place(), False)
        held.save(Place())
        held.save(PLACE)
    with holding(file) as held:
        assert (held.place, held.from_start) == (PLACE, False)
    assert sorted(os.listdir(file.parent)) == ["metrics.jsonl", "metrics.jsonl.relayed"]
    assert descriptors() == before


def test_one_holds_it_from_save_to_save(file):
    with holding(file) as held:
        for place in (None, Place(1), Place(2)):
            if place:
                held.save(place)
            with pytest.raises(AnotherRelayError), holding(file):
                pass
    with holding(file):
        pass


PAIRS = [(b"-1", b'""'), (b"true", b'""'), (b"1", b"7")]
OTHERS = [b'{"offset": %b, "line": 0, "members": 0, "check": %b}' % pair for pair in PAIRS]
OTHERS += [b"rubbish", b"[]", b"{}", b"[" * 60_000, b'{"offset": 1, "check": ""}']


@pytest.mark.parametrize("text", OTHERS)
def test_another_file_in_its_place_is_left(file, text):
    other = file.with_name("metrics.jsonl.relayed")
    other.write_bytes(text)
    with pytest.raises(NoOffsetError, match="move it away"), holding(file):
        pass
    assert other.read_bytes() == text


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_save_that_fails_leaves_the_old_one_or_the_new_one(file, call, monkeypatch):
    with holding(file) as held:
        held.save(PLACE)
        with monkeypatch.context() as patch:
            patch.setattr(offset, "SYNC_EVERY_S", 0)
            fail_once(patch, call, errno.ENOSPC)
            with pytest.raises(NoOffsetError, match="space"):
                held.save(Place(99))
        with pytest.raises(AnotherRelayError), holding(file):
            pass
    assert sorted(os.listdir(file.parent)) == ["metrics.jsonl", "metrics.jsonl.relayed"]
    with holding(file) as held:
        assert held.place == (PLACE if call == "write" else Place(99))


def _changed(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("size", [3, 3 * offset.EDGE_BYTES])
def test_another_file_under_the_name_is_relayed_from_its_start(file, size):
    """What lies before the offset tells them apart: of a short file all, of a long one both edges."""
    data = os.urandom(size)
    place = Place(size - 1, 2)
    file.write_bytes(data)
    with holding(file) as held:
        held.save(place)
    for other, is_same in (
        (data + b"more", True),
        (_changed(data, size - 1), True),
        (_changed(data, size - 2), False),
        (_changed(data, 0), False),
        (data[: size - 2], False),
    ):
        file.write_bytes(other)
        with holding(file) as held:
            assert (held.place, held.from_start) == (place if is_same else Place(), not is_same)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written_to_is_told_with_what_to_do(file, number, monkeypatch):
    fail_once(monkeypatch, "open", number)
    with pytest.raises(NoOffsetError, match="copy the file"), holding(file):
        pass


def test_where_locks_do_not_work_it_is_kept_all_the_same(file, monkeypatch):
    no_locks(monkeypatch)
    with holding(file) as one, holding(file) as other:
        one.save(Place(1))
        other.save(PLACE)
    with holding(file) as held:
        assert held.place == PLACE
