"""Bodies are on the disk before their segments go: a few one by one, many by one call."""

import contextlib
import ctypes
import errno
import os
from unittest import mock

import pytest

from flwr_telemetry import system
from flwr_telemetryd.outbox import batch, durable, split
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import burst_of, put_body, take
from tests.support import homes, records


@pytest.fixture
def forced(monkeypatch):
    """Give what is forced to the disk, in order: names of files and of directories."""
    names, real = [], os.fsync

    def fsync(descriptor):
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    def all_at_once(directory):
        names.append(sorted(os.listdir(directory)))
        return True

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(system, "sync_file_system", all_at_once)
    return names


def spooled(home, count):
    """Seal so many events, none of which may share a body with another."""
    homes.put(home, [records.sample({f"name{n}": 0}) for n in range(count)], name=segments.sealed_name(1))


def test_many_bodies_are_forced_by_one_call(home, host, forced):
    """After all are written, and before the commit: the segments are deleted after that."""
    spooled(home, durable.MANY + 1)
    made = take(host)
    assert batch.write(made, bursts=True, hardware={}).bodies == durable.MANY + 1
    (all_at_once, directory) = forced
    assert (all_at_once, directory) == (sorted(os.listdir(made.path)), made.path.name)
    batch.commit(made)
    assert forced[2:] == ["outbox", "work"]


@pytest.mark.parametrize("count", [3, durable.MANY + 1])
def test_bodies_are_forced_one_by_one(home, host, forced, monkeypatch, count):
    """If they are few, or the system has no other call. An opt-out meanwhile ends that."""
    monkeypatch.setattr(system, "sync_file_system", lambda _: False)
    spooled(home, count)
    made = take(host)
    checks = []
    batch.write(made, bursts=True, hardware={}, checkpoint=lambda: checks.append(0) or True)
    bodies = sorted(name for name in os.listdir(made.path) if name.endswith(".json"))
    assert forced == [*bodies, made.path.name]
    assert len(checks) >= 2 * count


@pytest.mark.parametrize("count", [3, durable.MANY + 1])
def test_the_events_of_a_split_burst_are_forced_before_it_goes(home, host, forced, count):
    whole = put_body(host, burst_of(records.series(count)))
    put_body(host, b"{}")
    members = [member.path.name for member in split.split(whole).members()]
    directory = whole.path.parent.name
    if count == 3:
        assert forced == [*members, directory]
    else:
        assert {*members, f"{whole.key}.split"} <= set(forced[0])
        assert forced[1:] == [directory]


@pytest.mark.parametrize(
    "reply", [errno.ENOSYS, errno.EPERM, errno.EIO, ImportError, MemoryError, AttributeError]
)
def test_the_call_of_this_system(tmp_path, monkeypatch, reply):
    """A filter of system calls may forbid it, and Python may lack it. A broken disk is an error."""
    assert system.sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        system.sync_file_system(tmp_path / "missing")

    def syncfs(_):
        ctypes.set_errno(reply)
        return -1

    library = mock.Mock(side_effect=reply if isinstance(reply, type) else None)
    library.return_value.syncfs = syncfs
    monkeypatch.setattr(ctypes, "CDLL", library)
    with pytest.raises(OSError, match="error") if reply == errno.EIO else contextlib.nullcontext():
        assert not system.sync_file_system(tmp_path)
