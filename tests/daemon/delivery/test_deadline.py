"""A deadline on whatever the main thread is doing."""

import contextlib
import signal
import socket
import threading

import pytest

from flwr_telemetryd.delivery.deadline import DeadlineExceededError, deadline


def test_a_wait_is_interrupted():
    """A call that would wait for ever ends, and no timer is left."""
    ours, theirs = socket.socketpair()
    with pytest.raises(DeadlineExceededError), deadline(0.02):
        ours.recv(1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    ours.close()
    theirs.close()


def swallow_once(waiting):
    """Be a library that goes on after an exception that it does not know."""
    with contextlib.suppress(DeadlineExceededError):
        waiting.recv(1)
    waiting.recv(1)


def test_a_library_that_swallows_it_is_interrupted_again():
    """It rings again until the block is left."""
    ours, theirs = socket.socketpair()
    with pytest.raises(DeadlineExceededError), deadline(0.02):
        swallow_once(ours)
    ours.close()
    theirs.close()


def test_no_time_at_all_is_a_deadline():
    """0 is allowed, and is no deadline of never."""
    ours, theirs = socket.socketpair()
    with pytest.raises(DeadlineExceededError), deadline(0):
        ours.recv(1)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("fails", [False, True])
def test_what_ends_in_time_leaves_nothing(fails):
    """The former handler is back and no timer runs, whether the block succeeded or raised."""
    former = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with pytest.raises(KeyError) if fails else deadline(60), deadline(60):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
            if fails:
                raise KeyError
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, former)


def test_another_thread_has_none():
    """Where no signal arrives the block runs as it is."""
    seen = []

    def run():
        with deadline(0):
            seen.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(0.0, 0.0)]


def test_the_longest_deadline():
    """The largest number that the settings accept is one."""
    with deadline(1e9):
        pass
