"""The deadline of a request."""

import contextlib
import signal
import socket
import threading

import pytest

from flwr_telemetryd.delivery.deadline import DeadlineExceededError, deadline


@pytest.mark.parametrize(("seconds", "swallowed"), [(0.02, 0), (0, 0), (0.02, 1)])
def test_a_wait_is_interrupted_and_no_timer_stays(seconds, swallowed):
    """Also if a library swallows the exception once."""
    ours, theirs = socket.socketpair()

    def receive():
        for _ in range(swallowed):
            with contextlib.suppress(DeadlineExceededError):
                ours.recv(1)
        ours.recv(1)

    with ours, theirs:
        with pytest.raises(DeadlineExceededError), deadline(seconds):
            receive()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("fails", [False, True])
def test_after_the_block_the_former_handler_is_back_and_no_timer_runs(fails):
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


def test_another_thread_runs_without_a_deadline():
    with deadline(1e9):
        pass
    seen = []

    def run():
        with deadline(0):
            seen.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(0.0, 0.0)]
