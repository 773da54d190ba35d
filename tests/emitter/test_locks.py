"""Attempts at file locks, their three answers, and waits that end although a clock stands still."""

import errno
import fcntl
import os
from unittest import mock

import pytest

from flwr_telemetry import locks, mounts
from flwr_telemetry.errors import BUSY_ERRNOS
from flwr_telemetry.locks import LockResult
from tests.support.faults import fail_once, no_locks

ATTEMPTS = [locks.try_shared, locks.try_exclusive]


@pytest.fixture
def first(tmp_path):
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def second(first, tmp_path):
    """Give another open file of the same name, as another process has it."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("number", sorted(BUSY_ERRNOS))
def test_what_says_that_a_lock_is_busy(first, monkeypatch, attempt, number):
    fail_once(monkeypatch, "flock", number, module=fcntl)
    assert attempt(first) is LockResult.BUSY


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_file_system_without_locks(first, monkeypatch, attempt):
    no_locks(monkeypatch)
    assert attempt(first) is LockResult.UNSUPPORTED
    assert locks.wait(attempt, first, 60, 10) is LockResult.UNSUPPORTED
    locks.unlock(first)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_file_that_other_machines_may_use_is_never_locked(first, monkeypatch, attempt):
    """The attempt might hang for ever, or lock the file for this machine alone."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("it asks the server"))
    device = os.fstat(first).st_dev
    monkeypatch.setattr(mounts, "is_shared_device", lambda asked: asked == device)
    assert attempt(first) is LockResult.UNSUPPORTED


def test_a_writer_hears_of_a_stale_file(first, monkeypatch):
    """Another host removed the file: a write to it might seem to succeed."""
    fail_once(monkeypatch, "flock", errno.ESTALE, module=fcntl)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        locks.wait(locks.try_shared, first, 1, 0.1)


@pytest.mark.parametrize("step_s", [0, 0.25, 1, 1e9], ids=["frozen", "slow", "exact", "set ahead"])
def test_a_wait_ends_by_the_clock_and_by_its_attempts(first, second, monkeypatch, step_s):
    """A clock that stands still, or that a test of the host's replaced, hangs no training."""
    now_s, slept = [0.0], [0.0]

    def sleep(seconds):
        slept[0] += seconds
        now_s[0] += seconds * step_s

    monkeypatch.setattr(locks.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(locks.time, "sleep", sleep)
    assert locks.try_exclusive(first) is LockResult.HELD
    assert locks.wait(locks.try_exclusive, second, 1, 0.125) is LockResult.BUSY
    assert slept == [0.125 if step_s > 1 else 1]


def test_a_program_that_forbids_to_sleep(first, second, monkeypatch):
    sleep = mock.Mock(side_effect=AssertionError)
    monkeypatch.setattr(locks.time, "sleep", sleep)
    assert locks.try_exclusive(first) is LockResult.HELD
    assert locks.wait(locks.try_exclusive, second, 1, 0.125) is LockResult.BUSY
    assert sleep.mock_calls == [mock.call(0.125)] * 8


@pytest.mark.parametrize("wait_s", [0, -1])
def test_no_wait_is_one_attempt(first, second, monkeypatch, wait_s):
    monkeypatch.setattr(locks.time, "sleep", lambda _: pytest.fail("it waits"))
    assert locks.wait(locks.try_shared, first, wait_s, 0.1) is LockResult.HELD
    assert locks.wait(locks.try_exclusive, second, wait_s, 0.1) is LockResult.BUSY


def test_a_lock_that_is_released_during_the_wait(first, second, monkeypatch):
    monkeypatch.setattr(locks.time, "sleep", lambda _: locks.unlock(first))
    assert locks.try_exclusive(first) is LockResult.HELD
    assert locks.wait(locks.try_exclusive, second, 1, 0.1) is LockResult.HELD
