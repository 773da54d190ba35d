"""The writer's side of the spool: the races of its docstring, by number."""

import errno
import os
import shutil

import psutil
import pytest

from flwr_telemetry import locks, spool
from flwr_telemetry.errors import SpoolWriteError
from flwr_telemetry.layout import Home
from flwr_telemetry.spool import CreationRefusedError
from flwr_telemetry.spool.posix import Writer
from flwr_telemetry.spool.whole import WholeWriter
from flwr_telemetryd.spool import segments
from tests.emitter.conftest import is_free
from tests.support import homes, processes, records
from tests.support.faults import amid, descriptors, no_locks
from tests.support.told import ToldWriter

FRAMES = [records.encode(event) for event in records.series(3)]


def numbers(home):
    return [
        [event["event_details"]["n"] for event in records.decode(path.read_bytes())]
        for path in homes.segments(home)
    ]


def test_race_1_a_sealer_is_shut_out_while_a_record_is_written(home, host, told, monkeypatch):
    seen = []
    told.append(FRAMES[0])
    amid(monkeypatch, lambda: seen.append(is_free(host.events)))
    told.append(FRAMES[1])
    assert seen == [False]
    assert is_free(host.events)
    assert segments.seal(host, 1) is not None
    told.append(FRAMES[2])
    assert numbers(home) == [[0, 1], [2]]


def test_race_1_without_locks_the_record_lands_in_the_sealed_segment(home, host, told, monkeypatch):
    """Race 1: a rename that the lock could not keep out costs nothing, and doubles nothing."""
    told.append(FRAMES[0])
    no_locks(monkeypatch)
    amid(monkeypatch, lambda: segments.seal(host, 1))
    told.append(FRAMES[1])
    told.append(FRAMES[2])
    assert numbers(home) == [[0, 1], [2]]


def test_race_2_a_record_in_a_removed_segment_is_written_again(home, host, told, monkeypatch):
    told.append(FRAMES[0])
    amid(monkeypatch, host.events.unlink)
    told.append(FRAMES[1])
    assert numbers(home) == [[1]]


@pytest.mark.parametrize("stale", [False, True])
def test_race_2_for_ever_is_an_error(told, host, monkeypatch, stale):
    """Race 2: the spool is replaced, or its handle goes stale, at every try. No descriptor stays open."""
    told.append(FRAMES[0])
    told.writer.close()
    real, before = os.write, descriptors()

    def lose(descriptor, data):
        if stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        host.events.unlink()
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", lose)
    with pytest.raises(SpoolWriteError, match="replaced faster"):
        told.append(FRAMES[1])
    assert descriptors() == before


def test_race_3_a_spool_that_is_replaced_is_the_spool(home, host, told):
    told.append(FRAMES[0])
    host.events.rename(host.events.with_name("elsewhere"))
    homes.put_bytes(home, FRAMES[1])
    told.append(FRAMES[2])
    assert numbers(home) == [[1, 2]]


@pytest.mark.parametrize("writer", [Writer, WholeWriter])
def test_race_3_nothing_is_made_again_without_consent(home, host, writer):
    told = ToldWriter(writer, host)
    told.append(FRAMES[0])
    shutil.rmtree(host.telemetry)
    told.may = False
    with pytest.raises(CreationRefusedError):
        told.append(FRAMES[1])
    assert not host.telemetry.exists()
    told.may = True
    told.append(FRAMES[2])
    assert numbers(home) == [[2]]
    told.writer.close()


HOLD = """
import fcntl, os, signal, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def stopped(home, host, told):
    told.append(FRAMES[0])
    with processes.start(home, ["-c", HOLD, str(host.events)]) as holder:
        processes.wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED)
        yield
        holder.kill()


def test_race_5_a_stopped_process_does_not_hold_up_a_training(home, stopped, told):
    """Race 5: a writer that does not get the lock appends without it, and leaves it to its holder."""
    told.append(FRAMES[1])
    told.append(FRAMES[2])
    assert numbers(home) == [[0, 1, 2]]
    assert not is_free(Home(home).host().events)


def test_race_5_the_wait_for_the_lock_is_bounded(host, stopped, told, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    told.append(FRAMES[1])
    assert spool.LOCK_WAIT_S / 2 < clock[0] <= spool.LOCK_WAIT_S
    clock[0] = 0.0
    told.append(FRAMES[2])
    assert clock[0] == 0.0, "a lock that stays busy is waited for once"
