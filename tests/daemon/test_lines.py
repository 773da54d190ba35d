"""Lines: told by number and offset, one at a time, as far as they are written."""

from __future__ import annotations

import fcntl
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd import lines
from flwr_telemetryd.errors import NoSuchFileError
from tests.support import processes
from tests.support.strategies import tried

if TYPE_CHECKING:
    from pathlib import Path


@tried(200)
@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8), st.data())
def test_from_any_line_to_any_byte_they_are_those_of_the_file(some: list[bytes], data: st.DataObject) -> None:
    """A property: what lies between an offset and an end is given whole, and what is cut is not given."""
    import tempfile

    whole = b"".join(line + b"\n" for line in some)
    first = data.draw(st.integers(0, len(some)))
    start = sum(len(line) + 1 for line in some[:first])
    end = data.draw(st.integers(start, len(whole)))
    with tempfile.TemporaryFile() as file:
        file.write(whole)
        file.flush()
        told = list(lines.lines(file, start, first, end))
    count = whole[start:end].count(b"\n")
    assert [line.data for line in told] == some[first : first + count]
    assert [line.number for line in told] == list(range(first + 1, first + count + 1))
    assert all(whole[start : line.end].count(b"\n") == line.number - first for line in told)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_a_line_that_is_too_long_is_told_without_being_held(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whatever length it is, and whether it ends where a piece of it does."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    path = tmp_path / "file"
    path.write_bytes(b"x" * (18 + size) + b"\nshort\n" + b"y" * 30)
    with lines.opened(path) as file:
        told = list(lines.lines(file, 0, 0, path.stat().st_size))
    assert told == [(1, None, 19 + size), (2, b"short", 25 + size)]


def test_its_length_is_looked_at_when_nobody_writes(tmp_path: Path) -> None:
    """A line that is being written under the lock is waited for."""
    path = tmp_path / "file"
    path.write_bytes(b"half a ")
    with path.open("ab", buffering=0) as writer, lines.opened(path) as file:
        fcntl.flock(writer, fcntl.LOCK_EX)
        told: list[int] = []
        reader = threading.Thread(target=lambda: told.append(lines.written_bytes(file)))
        reader.start()
        writer.write(b"line\n")
        fcntl.flock(writer, fcntl.LOCK_UN)
        reader.join(processes.PATIENCE_S)
        assert told == [12]


def test_whoever_keeps_the_lock_holds_nobody_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that was stopped amid a line: what can be seen is taken as it is."""
    monkeypatch.setattr(lines, "LOCK_WAIT_S", 0.05)
    path = tmp_path / "file"
    path.write_bytes(b"half a ")
    with path.open("ab") as writer, lines.opened(path) as file:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert lines.written_bytes(file) == 7


def test_a_name_that_is_none_is_told(tmp_path: Path) -> None:
    """Nothing that can be typed becomes a traceback."""
    for name in ("a\0b", "x" * 300):
        with pytest.raises(NoSuchFileError), lines.opened(tmp_path / name):
            pass
