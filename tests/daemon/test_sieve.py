"""Events of one ID go from a spool; those of others are there once, whatever happens meanwhile."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import files
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetryd import batch, segments, sieve, stages
from tests.daemon.conftest import OURS, THEIRS, begin_again, take_over
from tests.support import homes, records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import Spooling

GONE, OTHER = "9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1", "00000000-6bd5-4d6b-8a3c-6f2f60f0c9d1"


def event(number: int, source: str = OTHER) -> bytes:
    """Give the record of an event with this number."""
    return records.encode(records.sample({"n": number}, source=source))


def put(home: Path, data: bytes, at_ns: int = 1, offset: int = 0) -> Path:
    """Put a sealed segment."""
    return homes.put_bytes(home, data, name=segments.sealed_name(at_ns, offset))


def sift(host: HostPaths, *, alone: bool = True, later_s: float = 0) -> int:
    """Take the events of the ID out."""
    return sieve.sift(host, GONE, 9, alone=alone, now=host.root.stat().st_mtime + later_s)


@given(
    parts=st.lists(
        st.lists(st.one_of(st.booleans(), st.binary(max_size=40)), max_size=6), min_size=1, max_size=4
    )
)
def test_only_what_is_of_the_id_goes(tmp_path_factory: Any, parts: list[list[bool | bytes]]) -> None:
    """From whatever mixture of events and damage, in sealed segments and in the open one."""
    home = tmp_path_factory.mktemp("any") / ".flwr"
    host = Home(home).host()
    numbers, gone = [], 0
    for at_ns, part in enumerate(parts):
        data = b""
        for number, what in enumerate(part, start=10 * at_ns):
            if isinstance(what, bytes):
                data += what
            elif what:
                data += event(number, GONE)
                gone += 1
            else:
                data += event(number)
                numbers.append(number)
        if at_ns:
            put(home, data, at_ns)
        else:
            homes.put_bytes(home, data)
    damage = sum(len(what) for part in parts for what in part if isinstance(what, bytes))
    assert sift(host) == gone
    pieces = [piece for path in stages.spool_segments(host) for piece in stages.read_segment(path)]
    left = [piece.event["event_details"]["n"] for piece in pieces if hasattr(piece, "event")]
    assert sorted(left) == sorted(numbers)
    assert sum(len(piece.data) for piece in pieces if not hasattr(piece, "event")) == damage
    assert not any(GONE.encode() in path.read_bytes() for path in stages.spool_segments(host))
    assert homes.tree(host.root / "work") == []


def test_a_part_that_was_delivered_is_not_delivered_again(
    home: Path, host: HostPaths, spooling: Spooling
) -> None:
    """A segment that is read from an offset on is read from there afterwards; nothing before it is left."""
    before = event(1) + event(2, GONE)
    put(home, before + event(3, GONE) + event(4), offset=len(before))
    assert sift(host) == 1
    (path,) = stages.spool_segments(host)
    assert GONE.encode() not in path.read_bytes()
    assert begin_again(host, spooling) == [4]


def test_others_segments_are_not_touched(home: Path, host: HostPaths) -> None:
    """What does not hold the ID is not even renamed."""
    paths = [put(home, event(1)), homes.put_bytes(home, event(2))]
    before = [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    assert sift(host) == 0
    assert [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before
    assert not host.work.exists()


def test_a_segment_of_nothing_else_goes(home: Path, host: HostPaths) -> None:
    """No empty file is left for a sidecar to make a batch of."""
    put(home, event(1, GONE))
    homes.put_bytes(home, event(2, GONE))
    assert sift(host) == 2
    assert list(host.spool.iterdir()) == []


@pytest.mark.parametrize("alone", [True, False])
def test_an_unfinished_batch_comes_back_only_if_its_maker_is_dead(
    home: Path, host: HostPaths, spooling: Spooling, alone: bool
) -> None:
    """Who may live keeps what it has; the forgotten file keeps it from sending."""
    put(home, event(1) + event(2, GONE))
    made = batch.take(host, THEIRS, 1)
    assert made is not None
    batch.write(made, bursts=True, hardware={})
    assert sift(host, alone=alone) == alone
    assert made.path.exists() is not alone
    if not alone:
        assert sift(host, alone=False, later_s=batch.FOREIGN_WORK_S + 60) == 1
    assert begin_again(host, spooling) == [1]


def test_an_adopted_batch_is_sifted_where_it_is(
    home: Path, host: HostPaths, spooling: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are other hosts'; in the spool of this one they would become its own."""
    homes.put_bytes(home, event(1) + event(2, GONE), name=segments.sealed_name(1), host_of="node")
    homes.put_bytes(home, event(3, GONE), name=segments.sealed_name(2), host_of="node")
    host.root.mkdir(mode=0o700, exist_ok=True)
    assert batch.take(host, THEIRS, 1, [HostPaths(host.telemetry, "node")]) is not None
    replace = files.replace_by

    def late(path: Path, *arguments: Any, **options: Any) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        replace(path, *arguments, **options)
        os.write(descriptor, event(4) + event(5, GONE))
        os.close(descriptor)
        monkeypatch.undo()

    monkeypatch.setattr(files, "replace_by", late)
    assert sift(host) == 3
    assert segments.names(host.spool) == []
    for path in segments.listing(host.work):
        assert path.name.partition(".")[0].endswith("-adopted")
    assert begin_again(host, spooling) == [1, 4]


def test_a_writer_that_was_stopped_keeps_its_segment(home: Path, host: HostPaths, spooling: Spooling) -> None:
    """It holds the lock and has yet to see whether it is in time: next time, then."""
    data = event(1) + event(2, GONE)
    path = put(home, data)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert sift(host) == 0
        assert path.read_bytes() == data
    finally:
        os.close(descriptor)
    assert sift(host) == 1
    assert begin_again(host, spooling) == [1]


def test_what_a_writer_without_the_lock_adds_is_not_lost(
    home: Path, host: HostPaths, spooling: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the segment is rewritten under its hands: what is not of the ID goes back to the spool."""
    path = put(home, event(1) + event(2, GONE))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    replace = files.replace_by

    def late(*arguments: Any, **options: Any) -> None:
        replace(*arguments, **options)
        os.write(descriptor, event(3) + event(4, GONE))

    monkeypatch.setattr(files, "replace_by", late)
    assert sift(host) == 2
    monkeypatch.undo()
    os.close(descriptor)
    assert begin_again(host, spooling) == [1, 3]


@pytest.mark.parametrize("step", range(6))
def test_death_at_any_rename_loses_and_doubles_nothing(
    home: Path, host: HostPaths, spooling: Spooling, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The next sidecar, or the next try, finds every event of the others once."""
    homes.put_bytes(home, event(1) + event(2, GONE))
    put(home, event(3, GONE) + event(4))
    count = 0

    def dying(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > step:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    dying("rename")
    dying("replace")
    with pytest.raises(KeyboardInterrupt):
        sift(host)
    monkeypatch.undo()
    sift(host)
    assert begin_again(host, spooling) == [1, 4]


def test_a_sidecar_that_takes_the_batch_over_has_it(
    home: Path, host: HostPaths, spooling: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It thinks that its maker is dead: whoever loses the rename lets go."""
    put(home, event(1) + event(2, GONE))
    put(home, event(3) + event(4, GONE), at_ns=2)
    replace = files.replace_by

    def taken(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        take_over(host, OURS)
        replace(*arguments, **options)

    monkeypatch.setattr(files, "replace_by", taken)
    sift(host, alone=False)
    sift(host)
    assert begin_again(host, spooling) == [1, 3]
