"""The writer's side of the spool: the races of its docstring, by number."""

import errno
import os
import shutil

import psutil
import pytest

from flwr_telemetry import locks, spool
from flwr_telemetry.errors import SpoolWriteError
from flwr_telemetry.spool import CreationRefusedError
from flwr_telemetry.spool.posix import Writer
from flwr_telemetry.spool.whole import WholeWriter
from flwr_telemetryd.spool import segments
from tests.emitter.conftest import is_free
from tests.support import homes, processes
from tests.support.faults import amid, descriptors, no_locks
from tests.support.told import ToldWriter
from tests.test_spool_seam import FRAMES, numbers


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


def test_races_1_and_2(home, host, told, monkeypatch):
    """A record in a removed segment is written again. Without locks one lands in the sealed segment, once."""
    told.append(FRAMES[0])
    amid(monkeypatch, host.events.unlink)
    told.append(FRAMES[1])
    assert numbers(home) == [[1]]
    no_locks(monkeypatch)
    amid(monkeypatch, lambda: segments.seal(host, 1))
    told.append(FRAMES[2])
    told.append(FRAMES[3])
    assert numbers(home) == [[1, 2], [3]]


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


def test_race_5_a_stopped_process_does_not_hold_up_a_training(home, host, told, monkeypatch):
    """Race 5: a writer that does not get the lock soon appends without it, and leaves it to its holder."""
    told.append(FRAMES[0])
    with processes.start(home, ["-c", HOLD, str(host.events)]) as holder:
        processes.wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED)
        clock = [0.0]
        monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(locks.time, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
        told.append(FRAMES[1])
        assert spool.LOCK_WAIT_S / 2 < (waited_s := clock[0]) <= spool.LOCK_WAIT_S
        told.append(FRAMES[2])
        assert clock == [waited_s], "a lock that stays busy is waited for once"
        assert numbers(home) == [[0, 1, 2]]
        assert not is_free(host.events)
        holder.kill()
