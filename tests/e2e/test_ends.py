"""A process of Flower loses no reported event at any kind of end, and does not wait for the collector."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.e2e.federation import Federation
from tests.support import hosts, processes, wire

pytestmark = pytest.mark.e2e

PROGRAM = """
import os, signal, sys
from flwr.common import EventType, event
event(EventType.PING, {"n": 0})
event(EventType.PING, {"n": 1})
"""

# The code of each end, and the status. (The Ray of 1.8 has its own handler of SIGTERM.)
ENDS = {
    "return": ("", 0),
    "exception": ("raise RuntimeError", 1),
    "exit": ("sys.exit(3)", 3),
    "hard_exit": ("os._exit(3)", 3),
    "sigint": ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    "sigterm": (
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.raise_signal(signal.SIGTERM)",
        -signal.SIGTERM,
    ),
    "sigkill": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "fork": ("os._exit(0) if os.fork() == 0 else os.wait(); event(EventType.PING, {'n': 2})", 0),
}

PLAIN = {"return", "sigkill", "fork"}
"""The ends that are tried in every run."""

FLWR_EXIT = """
try:
    from flwr.supercore.exit import flwr_exit
except ImportError:
    from flwr.common.exit import flwr_exit
flwr_exit(0, event_type=EventType.PING, event_details={"n": 2})
"""


def ends(ours, code, status, collector):
    """Run it with a collector that does not answer; the events that arrive after the collector answers."""
    collector.answer_by(lambda _request: "hang")
    assert ours.run("-c", PROGRAM + code)[0] == status
    assert collector.accepted == {}
    collector.answer_by(lambda _request: 200)
    return wire.serials(sides.arrived(ours, collector))


@pytest.mark.parametrize(
    "end", [end if end in PLAIN else pytest.param(end, marks=pytest.mark.heavy) for end in ENDS]
)
def test_a_process_ends_without_waiting_and_loses_nothing(tmp_path, collector, end):
    """The end and its status are the same as without telemetry."""
    with sides.ours(tmp_path, collector.url, request_deadline_s=1) as ours:
        told = ends(ours, *ENDS[end], collector)
    assert told == ([0, 1, 2] if end == "fork" else [0, 1])


@pytest.mark.skipif(sides.RELEASE < (1, 15), reason="it has no flwr_exit")
def test_flowers_own_exit_does_not_wait(tmp_path, collector):
    """`flwr_exit` reports a last event and waits for its result, which is there at once."""
    with sides.ours(tmp_path, collector.url, request_deadline_s=1) as ours:
        assert ends(ours, FLWR_EXIT, 0, collector) == [0, 1, 2]
    last = max(collector.events(), key=lambda event: event["event_details"]["n"])
    assert last["event_details"] == {"n": 2, "exit_code": 0}


BY_SIGTERM = """
import importlib
PLACES = ("flwr.supercore.exit", "flwr.common.exit", "flwr.common.exit_handlers")
NAMES = ("register_signal_handlers", "register_exit_handlers")
for place in PLACES:
    try:
        module = importlib.import_module(place)
    except ImportError:
        continue
    found = [getattr(module, name) for name in NAMES if hasattr(module, name)]
    if found:
        break
register_signal_handlers = found[0]
register_signal_handlers(EventType.PING)
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.skipif(sides.RELEASE < (1, 15), reason="it has no flwr_exit")
@pytest.mark.parametrize("code", [FLWR_EXIT, BY_SIGTERM], ids=["flwr_exit", "sigterm"])
def test_flowers_own_exits_deliver_from_a_container(tmp_path, collector, code):
    """Process 1 takes the sidecar with it, long before the end of the burst window."""
    prefix = [*hosts.container([]), *sides.OURS]
    limits = {"burst_window_s": 3600, "goodbye_s": processes.PATIENCE_S / 2}
    with sides.ours(tmp_path, collector.url, prefix=prefix, **limits) as ours:
        status, printed = ours.run("-c", PROGRAM + code)
        assert status == 0, printed
        details = [event["event_details"] for event in collector.events()]
        assert ["exit_code" in one for one in details].count(True) == 1
        assert len(details) == 3


def catches_sigterm(pid):
    """Whether a process has a handler of SIGTERM; an ended one has none."""
    try:
        caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    except FileNotFoundError:
        return False
    return bool(int(caught, 16) & 1 << (signal.SIGTERM - 1))


@pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands differ")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.heavy)])
def test_what_a_superlink_reported_before_a_signal_arrives(tmp_path, record_property, number):
    """A SuperLink and its children end by a signal as without us, and no event is lost."""

    def end(one):
        with Federation(one, nodes=0) as link:
            wait_for_types(one, "RUN_SUPERLINK_ENTER", "RUN_SUPEREXEC_ENTER")
            # Flower reports its start before it handles signals.
            processes.wait_until(lambda: all(map(catches_sigterm, link.living())), what="their handlers")
            link.end(number)
        one.told.append(link.return_codes())

    record_property("table", sides.side_by_side(tmp_path, end).table)


@pytest.mark.heavy
@pytest.mark.skipif(sides.RELEASE < (1, 27), reason="its commands differ")
def test_what_a_training_reported_before_it_was_killed_arrives(tmp_path, collector):
    """A node and the server app get SIGTERM during a training; then all its other processes are killed."""
    with sides.ours(tmp_path, collector.url) as ours:
        with Federation(ours) as federation:
            run = federation.begin(num_rounds=1000)
            wait_for_types(ours, "FLWR_SERVERAPP_RUN_ENTER", "FLWR_CLIENTAPP_RUN_ENTER")
            node = federation.programs["supernode-0"]
            for pid in (*federation.living("flwr-serverapp"), node.process.pid):
                os.kill(pid, signal.SIGTERM)
            wait_for_types(ours, "FLWR_SERVERAPP_RUN_LEAVE", "RUN_SUPERNODE_LEAVE")
            while living := federation.living():
                for pid in living:
                    processes.kill(pid)
            run.wait()
        sides.arrived(ours, collector, killed=True)


def wait_for_types(one, *types):
    def are_reported():
        return set(types) <= {event["event_type"] for event in one.reported()}

    processes.wait_until(are_reported, what=" and ".join(types))
