"""Signals, in processes of their own."""

import signal
import subprocess

import pytest

from tests.support import processes

SET_UP = """
import os, signal, sys, time
from flwr_telemetryd.sidecar.signals import Signals, TerminatedError
signals = Signals(reloads={reloads})
try:
    print("set up", flush=True)
    {body}
except TerminatedError:
    print("terminated", flush=True)
    sys.exit(5)
"""


def begin(home, body, *before, reloads=True):
    """Start a process that handles signals; they are set up when this returns."""
    code = SET_UP.format(body=body, reloads=reloads)
    child = processes.start(home, [*before, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout.readline() == "set up\n"
    return child


def rest(child):
    """Give all further lines of a child that ends; `communicate` with a timeout leaves out what was read."""
    with child:
        return child.stdout.read()


STATES = {
    "sleep": "signals.sleep(3600)",
    "lock": """
    from flwr_telemetry.locks import LockResult, wait
    wait(lambda _descriptor: LockResult.BUSY, -1, 3600, 0.01)
""",
    "request": """
    import socket
    from flwr_telemetryd.delivery.deadline import deadline
    ours, theirs = socket.socketpair()
    with deadline(3600):
        ours.recv(1)
""",
}
BLOCKED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("before", [[], ["-c", BLOCKED]], ids=["", "blocked by the parent"])
@pytest.mark.parametrize("body", STATES.values(), ids=STATES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_raises_in_every_wait(home, number, body, before):
    child = begin(home, body, *before)
    child.send_signal(number)
    assert (rest(child), child.returncode) == ("terminated\n", 5)


def test_a_sidecar_on_demand_ignores_sighup(home):
    """The terminal of its starter may be closed."""
    body = "os.kill(os.getpid(), signal.SIGHUP); signals.sleep(0.01); print(signals.reload_asked())"
    child = begin(home, body, reloads=False)
    assert (rest(child), child.returncode) == ("False\n", 0)


def test_sighup_is_told_once_and_ends_a_sleep_even_just_before_it(home):
    body = """
    os.kill(os.getpid(), signal.SIGHUP)
    began = time.monotonic()
    signals.sleep(3600)
    signals.sleep(0.2)
    print(signals.reload_asked(), signals.reload_asked(), 0.2 <= time.monotonic() - began < 3600)
"""
    child = begin(home, body)
    assert (rest(child), child.returncode) == ("True False True\n", 0)


def test_a_signal_that_a_destructor_swallowed_ends_the_next_sleep(home):
    body = """
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # the handler runs here, and Python ignores its exception
                pass
    Swallows()
    print("goes on", flush=True)
    signals.sleep(3600)
"""
    child = begin(home, body)
    assert (rest(child), child.returncode) == ("goes on\nterminated\n", 5)
