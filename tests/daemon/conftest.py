"""Helpers for the tests of the daemon's packages."""

import contextlib
import json

import pytest

from flwr_telemetry import mounts, settings
from flwr_telemetry.layout import Home, whole_name
from flwr_telemetry.record import to_wire
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.faults import LocalFaults
from flwr_telemetryd.errors import LostRaceError
from flwr_telemetryd.outbox import batch
from flwr_telemetryd.outbox.body import Body
from flwr_telemetryd.outbox.queue import Queue
from flwr_telemetryd.runtime import Mode, Runtime
from flwr_telemetryd.spool import segments
from flwr_telemetryd.state import State
from tests.support import homes, netfs, records, wire
from tests.support.bodies import coalesce

OURS, THEIRS = "0" * 16, "1" * 16
EVENTS = records.series(10)
FRAMES = [records.encode(event) for event in EVENTS]


def sealed(home, *numbers, at_ns=1):
    data = b"".join(FRAMES[number] for number in numbers)
    return homes.put_bytes(home, data, name=segments.sealed_name(at_ns))


def whole(home, *numbers, at_ns=1, host_of=None):
    """Put a segment that was written whole."""
    data = b"".join(FRAMES[number] for number in numbers)
    return homes.put_bytes(home, data, name=whole_name(at_ns), host_of=host_of)


def take(host, owner=OURS, adopted=()):
    taken = batch.take(host, owner, 1, adopted)
    assert taken is not None
    return taken


def make(host, made):
    batch.write(made, bursts=True, hardware={})
    return batch.commit(made)


def a_runtime(home, mode=Mode.ONCE, clock=None):
    """Give what the parts of a sidecar on this host share; telemetry is on."""
    clock, state = clock or Clock(), State()
    known = settings.load(Home(home), None, site_file=home / "no-site")
    faults = LocalFaults(clock, state, Limits)
    shared = mounts.is_shared(home)
    host = Home(home).host()
    return Runtime(
        Home(home), host, mode, clock, state, faults, lambda: True, lambda: known, OURS, is_shared=shared
    )


def take_over(host, owner=OURS, **options):
    """Take over what is unfinished, as a sidecar does; a process that loses a rename gives up."""
    found = []
    for path in batch.unfinished(host, owner, **options):
        with contextlib.suppress(LostRaceError):
            found.append(batch.take_over(host, path, owner))
    return found


def a_queue(host, clock=None):
    return Queue(a_runtime(host.telemetry.parent, clock=clock))


def put_body(host, data, *, batch="b1", name=None):
    path = host.outbox / batch / (name or f"{wire.key_of(data)}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Body(host, path)


def due(host):
    queue = a_queue(host)
    queue.repair(host)
    return {body.key: body.read() for body in queue.due()}


def begin_again(host, spooling):
    """Be the next sidecar: take over, take what is left, and deliver all; the numbers of the events."""
    for unfinished in take_over(host, THEIRS):
        make(host, unfinished)
    segments.seal(host, 5)
    while (taken := batch.take(host, THEIRS, 6)) is not None:
        make(host, taken)
    numbers = spooling.delivered()
    assert homes.unsent_files(host.telemetry.parent) == []
    return numbers


class Spooling:
    """What lies at the stages of one host, told by the numbers of its events."""

    def __init__(self, host):
        self.host = host

    def bodies(self, directory=None):
        return [path.read_bytes() for path in sorted((directory or self.host.outbox).rglob("*.json"))]

    def delivered(self):
        """Settle every due body as a sidecar does; give the numbers of their events."""
        queue, found = a_queue(self.host), []
        queue.repair(self.host)
        for body in queue.due():
            if (loaded := queue.load(body)) is not None:
                found += [event["event_details"]["n"] for event in wire.expand(loaded.data)]
                queue.accept(loaded, status=200, url="https://x/")
        return sorted(found)


@pytest.fixture(autouse=True)
def _forked(forked):
    """Fork commands and sidecars; `contract/test_commands.py` and the READMEs' tests start them."""


@pytest.fixture
def host(home):
    host = Home(home).host()
    for path in (host.telemetry, host.root):
        path.mkdir(parents=True, mode=0o700)
        path.chmod(0o700)
    return host


@pytest.fixture
def shared_host(home, tmp_path):
    """Give this host in a home that other machines may use, too; its locks would work."""
    if netfs.missing():
        pytest.skip(netfs.missing())
    homes.configure(home)
    with netfs.mounted(home, tmp_path / "share", netfs.Traits()) as mount:
        host = Home(mount).host()
        host.root.mkdir(mode=0o700)
        yield host


@pytest.fixture
def spooling(host):
    return Spooling(host)


def burst_of(events):
    (body,) = coalesce([to_wire(event) for event in events])
    assert "burst" in json.loads(body)
    return body
