"""The lock that lets one sidecar run on a host, and the lock of a segment."""

import contextlib
import fcntl
import subprocess

import pytest

from flwr_telemetry import presence
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetryd.spool.locks import held
from flwr_telemetryd.state import State
from tests.support import faults, homes, netfs, processes


@pytest.fixture
def host(home):
    homes.put(home, [])
    return Home(home).host()


def test_one_holder_at_a_time(host):
    """The file stays. Without ``create`` none is made, because everything was removed."""
    with held(host, 0) as lock:
        assert (lock.result, host.lock.exists()) == (LockResult.BUSY, False)
    before = faults.descriptors()
    with held(host, 0, create=True) as first, held(host, 0) as second:
        assert (first.result, first.is_exclusive) == (LockResult.HELD, True)
        assert (second.result, second.is_exclusive) == (LockResult.BUSY, False)
        assert presence.alive(host)
    with held(host, 0) as third:
        assert third.result is LockResult.HELD
    assert not presence.alive(host)
    assert host.lock.exists()
    assert faults.descriptors() == before


@pytest.mark.parametrize("kind", ["refused", "shared"])
def test_without_locks_the_state_is_the_claim(home, host, tmp_path, monkeypatch, kind):
    """The host belongs to the process that ``sidecar.json`` names. On a shared home no lock is tried."""
    with contextlib.ExitStack() as stack:
        if kind == "refused":
            faults.no_locks(monkeypatch)
        elif netfs.missing():
            pytest.skip(netfs.missing())
        else:
            mount = stack.enter_context(netfs.mounted(home, tmp_path / "share", netfs.Traits()))
            host = Home(mount).host()
            monkeypatch.delattr(fcntl, "flock")
        with processes.start(home, ["-c", "input()"], stdin=subprocess.PIPE) as other:
            claim = State(pid=other.pid, born=presence.birth(other.pid))
            claim.save(host)
            with held(host, 0, create=True) as lock:
                assert (lock.result, lock.is_exclusive) == (LockResult.BUSY, False)
            claim.ended = "2026-11-22 idle"
            claim.save(host)
            with held(host, 0) as lock:
                assert (lock.result, lock.is_exclusive) == (LockResult.UNSUPPORTED, True)
                assert not lock.is_lost()
                claim.ended = ""
                claim.save(host)
                assert lock.is_lost()
            other.communicate("\n")
        with held(host, 0) as lock:
            assert (lock.result, lock.is_exclusive) == (LockResult.UNSUPPORTED, True)


def test_a_claim_of_another_container_may_be_alive(host, monkeypatch):
    """Its process cannot be seen here, so its unfinished batches are not taken over at once."""
    faults.no_locks(monkeypatch)
    State(pid=7, born="pid:[1] 12").save(host)
    with held(host, 0, create=True) as lock:
        assert (lock.result, lock.is_exclusive) == (LockResult.UNSUPPORTED, False)
