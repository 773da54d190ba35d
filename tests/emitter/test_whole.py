"""Whole segments: each append is a file of its own, and no other process finds it before it is complete."""

import errno
import math
import os
import re
import shutil
import stat
import time

import pytest

from flwr_telemetry.errors import SpoolFullError, SpoolUnsafeError, SpoolWriteError
from flwr_telemetry.spool import whole
from flwr_telemetry.spool.whole import LEAST_BYTES, WholeWriter
from tests.emitter.conftest import close_below, numbers
from tests.support import homes, netfs, processes, records
from tests.support.faults import DeathError, amid, descriptors, die, fail_once, write_at_most
from tests.support.netfs import Traits
from tests.support.told import ToldWriter

FRAMES = [records.encode(event) for event in records.series(3)]


@pytest.fixture
def told(host):
    before = descriptors()
    yield ToldWriter(WholeWriter, host)
    assert descriptors() == before


def test_each_append_is_a_segment_of_its_own(home, host, told, monkeypatch):
    """Whatever the umask, it is private; its name tells that nobody appends to it; and it gets it at last."""
    seen = []
    monkeypatch.setattr(whole, "LATE_S", math.inf)  # a slow machine asks for consent again
    umask = os.umask(0o777)
    amid(monkeypatch, lambda: seen.extend(homes.segments(home)), "rename")
    told.append(FRAMES[0])
    os.umask(umask)
    told.append(FRAMES[1] + FRAMES[2])
    assert (seen, numbers(home)) == ([], [0, 1, 2])
    for name in os.listdir(host.spool):
        assert re.fullmatch(r"sealed-[0-9]{19}-[0-9a-f]{16}\.msgpack", name)
        assert stat.S_IMODE((host.spool / name).stat().st_mode) == 0o600
    assert (told.asked, told.opened) == (1, 1)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "rename"])
def test_death_at_any_moment_leaves_no_half_segment(home, told, monkeypatch, call):
    told.append(FRAMES[0])
    with monkeypatch.context() as patch:
        die(patch, call, 0)
        with pytest.raises(DeathError):
            told.append(FRAMES[1])
    told.append(FRAMES[2])
    assert numbers(home) == [0, 2]
    close_below(home)  # what died left its own open


@pytest.mark.parametrize("what", ["home", "telemetry", "root", "spool"])
@pytest.mark.parametrize("amid_call", [None, "open", "write", "fsync", "rename"])
def test_a_spool_that_is_removed_is_made_again(home, host, told, what, amid_call, monkeypatch):
    """Before an append, and amid one."""
    monkeypatch.setattr(whole, "LATE_S", processes.PATIENCE_S)  # a slow draft asks once more
    told.append(FRAMES[0])
    directory = home if what == "home" else getattr(host, what)
    if amid_call is None:
        shutil.rmtree(directory)
    else:
        amid(monkeypatch, lambda: shutil.rmtree(directory), amid_call)
    told.append(FRAMES[1])
    assert numbers(home) == [1]
    assert (told.asked, told.opened) == (2, 2)


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_rename_that_the_server_did_twice(home, host, told, monkeypatch, is_taken):
    """The answer to the first one was lost, and the second one finds no draft. It is not written again."""
    told.append(FRAMES[0])
    real = os.rename

    def twice(draft, sealed):
        real(draft, sealed)
        if is_taken:
            os.unlink(sealed)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "rename", twice)
    told.append(FRAMES[1])
    assert numbers(home) == [0] if is_taken else [0, 1]


@pytest.mark.parametrize("is_done", [False, True])
def test_a_rename_without_an_answer(home, host, told, monkeypatch, is_done):
    """On a soft mount nobody knows whether it was done. Tried again, the event is written once."""
    real = os.rename

    def give_up(draft, sealed):
        if is_done:
            real(draft, sealed)
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", give_up)
        with pytest.raises(SpoolWriteError):
            told.append(FRAMES[0])
    for frame in FRAMES[:2]:
        told.append(frame)
    assert numbers(home) == [0, 1]
    assert len(os.listdir(host.spool)) == 2


def test_a_short_write_leaves_nothing_and_a_spool_that_is_always_gone_is_an_error(home, told, monkeypatch):
    write_at_most(monkeypatch, 20)
    with pytest.raises(SpoolFullError, match="only 20 of"):
        told.append(FRAMES[0])
    assert homes.tree(homes.spool(home)) == []
    homes.spool(home).rmdir()
    monkeypatch.setattr(whole, "make_directories", lambda *_: None)
    with pytest.raises(SpoolWriteError):
        told.append(FRAMES[0])


def test_an_error_of_the_close_is_none(home, told, monkeypatch):
    """The server has the data since the fsync."""
    fail_once(monkeypatch, "close", errno.EDQUOT)
    told.append(FRAMES[0])
    assert numbers(home) == [0]
    close_below(home)


def test_a_file_system_without_direct_writes(home, host, monkeypatch):
    flags, real = [], os.open

    def refuse(path, wanted, *rest, **options):
        flags.append(wanted & os.O_DIRECT)
        if wanted & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, wanted, *rest, **options)

    ToldWriter(WholeWriter, host).append(FRAMES[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        ToldWriter(WholeWriter, host, is_direct=True).append(FRAMES[1])
    assert flags == [os.O_DIRECT, 0]
    assert numbers(home) == [0, 1]


def test_the_cap_counts_what_is_there_and_what_is_written(home, host, told, monkeypatch):
    """Each segment counts as a block. At the cap the spool is listed once a second, not for each event."""
    homes.put(home, records.series(1), name="sealed-1.msgpack")
    looks, now_s = [], [time.monotonic()]
    monkeypatch.setattr(whole.time, "monotonic", lambda: now_s[0])
    amid(monkeypatch, lambda: looks.append(1), "scandir", after=1)
    told.append(FRAMES[0], 2 * LEAST_BYTES)
    for _ in range(3):
        with pytest.raises(SpoolFullError, match="spool_max_mib"):
            told.append(FRAMES[1], 2 * LEAST_BYTES)
    assert (host.dropped.read_bytes(), looks) == (b"\0\0\0", [])
    (host.spool / "sealed-1.msgpack").unlink()
    now_s[0] += 1
    told.append(FRAMES[2], 2 * LEAST_BYTES)
    assert numbers(home) == [0, 2]


def test_what_others_write_counts_after_a_while(home, host, told, monkeypatch):
    monkeypatch.setattr(whole, "_LIST_EVERY", 2)
    told.append(FRAMES[0], 3 * LEAST_BYTES)
    homes.put(home, records.series(1), name="sealed-1.msgpack")
    told.append(FRAMES[1], 3 * LEAST_BYTES)
    with pytest.raises(SpoolFullError):
        told.append(FRAMES[2], 3 * LEAST_BYTES)
    assert told.opened == 2


@pytest.mark.parametrize("room", ["telemetry", "root", "spool"])
def test_a_directory_that_is_not_surely_ours_is_not_written_to(host, told, room):
    host.spool.mkdir(parents=True)
    getattr(host, room).chmod(0o777)
    with pytest.raises(SpoolUnsafeError, match="chmod 700"):
        told.append(FRAMES[1])


@pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())
def test_a_shared_home_has_no_open_segment_and_no_lock(home, tmp_path):
    """Neither for an event nor for the start of a sidecar, and the source ID needs none."""
    home.mkdir()
    (home / "source").touch()
    code = """
import fcntl
from flwr_telemetry import spawn
fcntl.flock = lambda *_: os._exit(7)
spawn.start = lambda *_: print("started")
for n in range(2):
    event("PING", {"n": n})
"""
    with netfs.mounted(home, tmp_path / "mount", Traits()) as mount:
        assert processes.workload(mount, code).stdout == "started\n"
    assert sorted(path.name.partition("-")[0] for path in homes.spool(home).iterdir()) == ["sealed"] * 2
    assert numbers(home) == [0, 1]
